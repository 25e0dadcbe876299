# A shop of random customers and orders, in a database of its own, to ask random
# conditions in. Four shapes of tables and six zones take turns; they do not go
# round together, so that every shape comes in every zone after twelve shops and
# one step.

package ConditionShop;

use strict;
use warnings;

use Encode ();
use FindBin;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

use RandomConditions;

my @shapes = qw(a b c d);
my @zones = qw(Asia/Ho_Chi_Minh America/Sao_Paulo Europe/Lisbon Pacific/Apia Africa/Cairo America/St_Johns);
my $json = JSON::PP->new;

# The server that the shops of a test are in.
sub server
{
	my $node = PostgreSQL::Test::Cluster->new('shop');
	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', <<'CONF');
jit = off
fsync = off
statement_timeout = 300s
join_collapse_limit = 1
autovacuum = off
CONF
	$node->start;
	return $node;
}

# Open a shop: node, number (from 1), seed (of the test). It knows its shape,
# zone and seed, the pools of its values, and instants worth asking at.
sub new
{
	my ($class, %args) = @_;
	my $n = $args{number};
	my $self = bless {
		%args,
		name => "shop$n",
		shape => $shapes[ ($n - 1) % @shapes ],
		zone => $zones[ ($n - 1 + int(($n - 1) / 12)) % @zones ],
		seed => ($args{seed} * 7919 + $n * 104729) % 1000003
	}, $class;
	$self->{node}->safe_psql('postgres', "CREATE DATABASE $self->{name}");
	$self->run("$FindBin::RealBin/../random/condition_shop.sql");
	($self->{pools}, $self->{instants}) = $self->ask_json("SET timezone = 'UTC'; SELECT truth.pools(); SELECT truth.instants();");
	return $self;
}

# Run a file that takes shape, zone and seed as its variables.
sub run
{
	my ($self, $file) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-Xq', (map { ('-v', "$_=$self->{$_}") } qw(shape zone seed)), '-d', $self->{node}->connstr($self->{name}), '-f', $file ], '>', \$out, '2>', \$err)
	  or die "$file fails in shop $self->{number}: $err";
	return;
}

# What a script answers, in characters; dies of its errors.
sub ask
{
	my ($self, $sql) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $self->{node}->connstr($self->{name}), '-f', '-' ], '<', \Encode::encode('UTF-8', $sql), '>', \$out, '2>', \$err)
	  or die "$err\n";
	return Encode::decode('UTF-8', $out);
}

# The same for a script each line of whose answer is JSON.
sub ask_json
{
	my ($self, $sql) = @_;
	return map { $json->decode($_) } split /\n/, $self->ask($sql);
}

# Who makes conditions for this shop.
sub random
{
	my ($self) = @_;
	return RandomConditions->new(map { $_ => $self->{$_} } qw(shape zone pools));
}

# Do work($session) in so many processes; the sums of what they count and all of
# their reports. A process that dies counts as one that is wrong.
sub side_by_side
{
	my ($self, $sessions, $work) = @_;
	my @workers;
	for my $session (1 .. $sessions)
	{
		my $file = "$PostgreSQL::Test::Utils::tmp_check/$self->{name}_$session.json";
		unlink $file;
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			my $stats = eval { $work->($session) };
			$stats //= { wrong => 1, reports => ["shop $self->{number}: $@"] };
			open my $to, '>:utf8', $file or POSIX::_exit(1);
			print {$to} $json->encode($stats);
			close $to;
			POSIX::_exit(0);
		}
		push @workers, [ $pid, $file ];
	}
	my %stats = (reports => []);
	for (@workers)
	{
		my ($pid, $file) = @$_;
		waitpid $pid, 0;
		my $of = -s $file ? $json->decode(Encode::decode('UTF-8', slurp_file($file))) : { wrong => 1, reports => ["a session in shop $self->{number} ended with status $?"] };
		push @{ $stats{reports} }, @{ delete $of->{reports} };
		$stats{$_} += $of->{$_} for keys %$of;
	}
	return \%stats;
}

sub drop
{
	my ($self) = @_;
	$self->{node}->safe_psql('postgres', "DROP DATABASE $self->{name} WITH (FORCE)") if !$ENV{KEEP};
	return;
}

# Text as a literal of SQL.
sub string
{
	my ($text) = @_;
	my $tag = 'q';
	$tag .= 'q' while index($text, "\$$tag\$") >= 0;
	return "\$$tag\$$text\$$tag\$";
}

1;
