# Four tills that go on selling at a shop, by pgbench, until they are closed;
# when the server is killed they open again as soon as it is back.

package Tills;

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

# What an application has to expect when rows are changed in any order, and from
# a server that was killed.
my @expected = ('could not serialize access', 'deadlock detected', 'terminating connection because of crash of another server process',
	'server closed the connection unexpectedly', 'the database system is', 'could not receive data from server', 'SSL', 'connection to server');

# node, database; choose: the choices of chance that each script begins with;
# scripts: name => [ weight, statements ]; expected: patterns of other errors
# that a sale may meet here.
sub open
{
	my ($class, %args) = @_;
	my $tmp = $PostgreSQL::Test::Utils::tmp_check;
	my $self = bless {
		stop => "$tmp/$args{database}.stop",
		log => "$tmp/$args{database}.tills",
		sales => "$tmp/$args{database}.sales",
		expected => join('|', @expected, @{ $args{expected} // [] })
	}, $class;
	unlink $self->{stop}, $self->{log};
	my @files;
	for my $name (sort keys %{ $args{scripts} })
	{
		my ($weight, $statements) = @{ $args{scripts}{$name} };
		my $file = "$tmp/$args{database}_$name.sql";
		unlink $file;
		append_to_file($file, "$args{choose}$statements\n");
		push @files, '-f', "$file\@$weight";
	}
	my $can_retry = $args{node}->safe_psql('postgres', 'SHOW server_version_num') >= 150000;
	my @pgbench = ('pgbench', '-n', '-c4', '-j2', '-T2', ($can_retry ? '--max-tries=20' : ()), '-l', "--log-prefix=$self->{sales}", @files, $args{node}->connstr($args{database}));
	my $loop = 'stop=$1 log=$2; shift 2; while [ ! -e "$stop" ]; do "$@" >>"$log" 2>&1 || sleep 0.3; done';
	$self->{handle} = IPC::Run::start([ 'bash', '-c', $loop, 'tills', $self->{stop}, $self->{log}, @pgbench ], '<', \'');
	return $self;
}

# Close them: some was sold, and nothing failed that need not. Returns how many
# seconds a sale took at most.
sub shut
{
	my ($self) = @_;
	append_to_file($self->{stop}, 'stop');
	IPC::Run::finish($self->{handle});
	my $log = slurp_file($self->{log});
	my @unexpected = grep { /ERROR|FATAL|PANIC|WARNING/ && !/$self->{expected}/ } split /\n/, $log;
	is(join("\n", splice(@unexpected, 0, 10)), '', 'no sale failed but for a deadlock or a killed server, and none warned');
	my $sold = 0;
	$sold += $1 while $log =~ /number of transactions actually processed: (\d+)/g;
	cmp_ok($sold, '>', 200, "sales meanwhile: $sold");

	my @milliseconds = sort { $a <=> $b } $self->took;
	note(sprintf('a sale took %.1f ms in the middle, %.1f ms at the 99th of 100, %.1f ms at most', @milliseconds[ @milliseconds / 2, @milliseconds * 0.99, -1 ]));
	return $milliseconds[-1] / 1000;
}

# How many milliseconds each sale took that ended; those who tell are removed.
sub took
{
	my ($self) = @_;
	my @took;
	for my $file (glob "$self->{sales}.*")
	{
		for my $line (split /\n/, slurp_file($file))
		{
			my @field = split / /, $line;
			push @took, $field[2] / 1000 if $field[2] =~ /^\d+$/;
		}
		unlink $file;
	}
	return @took;
}

1;
