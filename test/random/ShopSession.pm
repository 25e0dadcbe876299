# A psql that runs what it is given as files, and tells what it met on the way.

package ShopSession;

use strict;
use warnings;

use Encode ();
use IPC::Open2;
use PostgreSQL::Test::Utils;

# name, connection (string), setup (SQL)
sub new
{
	my ($class, %args) = @_;
	my $stem = "$PostgreSQL::Test::Utils::tmp_check/session_$args{name}";
	my $self = bless { %args, errors => "$stem.err", file => "$stem.sql", read => 0 }, $class;
	write_file($self->{errors}, '');
	$self->{pid} = open2($self->{from}, $self->{to}, "exec psql -XAtq -v VERBOSITY=verbose -d '$args{connection}' 2>>'$self->{errors}'");
	$self->{to}->autoflush(1);
	print { $self->{to} } "\\o /dev/null\n$args{setup}\n";
	return $self;
}

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>:utf8', $name or die "$name: $!";
	print {$file} $text;
	close $file;
	return;
}

# Begin to run a script; its answers are not shown.
sub start
{
	my ($self, $script) = @_;
	write_file($self->{file}, $script);
	$self->{script} = $script;
	print { $self->{to} } "\\o /dev/null\n\\i $self->{file}\n\\o\n\\echo done\n";
	return;
}

# Wait for it; returns what was said on the way, message by message.
sub finish
{
	my ($self) = @_;
	my (undef, @messages) = $self->_answer;
	return @messages;
}

# What the last line up to a number says that matches, in the script that was run last.
sub before
{
	my ($self, $line, $pattern) = @_;
	for (reverse((split /\n/, $self->{script})[ 0 .. $line - 1 ])) { return $1 if $_ =~ $pattern; }
	return '';
}

# The lines that a query answers; dies where it fails.
sub ask
{
	my ($self, $sql) = @_;
	print { $self->{to} } Encode::encode('UTF-8', "\\o\n$sql;\n\\echo done\n");
	my ($lines, @messages) = $self->_answer;
	die "$sql: @messages" if grep { /(ERROR|FATAL|PANIC):/ } @messages;
	return @$lines;
}

sub _answer
{
	my ($self) = @_;
	my ($from, @lines, $done) = ($self->{from});
	while (defined(my $line = <$from>))
	{
		chomp $line;
		$done = $line eq 'done' and last;
		push @lines, Encode::decode('UTF-8', $line);
	}
	my $text = slurp_file($self->{errors}, $self->{read});
	$self->{read} += length $text;
	$text = Encode::decode('UTF-8', $text);
	my @messages = grep { /(?:ERROR|WARNING|FATAL|PANIC):/ } split /^(?=psql:\S+ (?:ERROR|WARNING|FATAL|PANIC|INFO|NOTICE):|(?:ERROR|WARNING|FATAL|PANIC|INFO|NOTICE):)/m, $text;
	push @messages, "PANIC:  57P02: session $self->{name} is gone: $text" if !$done;
	return (\@lines, @messages);
}

sub end
{
	my ($self) = @_;
	return if $self->{ended}++;
	close $self->{to};
	close $self->{from};
	waitpid $self->{pid}, 0;
	return;
}

1;
