# A CALL that goes on in a psql of its own, to be interrupted on its way.

package LongCall;

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

# node, database, sql; told: a pattern of what it says of each batch. Only one
# is interrupted at a time.
sub start
{
	my ($class, %args) = @_;
	my $self = bless { %args, out => '', err => '' }, $class;
	$self->{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $args{node}->connstr($args{database}) . ' application_name=long_call', '-c', $args{sql} ],
		'<', \'', '>', \$self->{out}, '2>', \$self->{err});
	return $self;
}

# Of how many batches it has told.
sub batches
{
	my ($self) = @_;
	return scalar(() = $self->{err} =~ /$self->{told}/g);
}

# Whether it runs still; takes what it has told meanwhile.
sub runs
{
	my ($self) = @_;
	$self->{handle}->pump_nb if IPC::Run::pumpable($self->{handle});
	return IPC::Run::pumpable($self->{handle});
}

# Let it run for so many batches, a minute at most, or until it ends.
sub let_run
{
	my ($self, $batches) = @_;
	my $until = time + 60;
	sleep 0.01 while $self->runs && time < $until && $self->batches < $batches;
	return;
}

# Interrupt it, by a function of the server or by kill -9 of its process, which
# the server survives by itself. False when it had ended.
sub interrupt
{
	my ($self, $how) = @_;
	my $pid = $self->{node}->safe_psql($self->{database}, "SELECT pid FROM pg_stat_activity WHERE application_name = 'long_call' AND state <> 'idle'");
	return 0 if $pid eq '';
	if ($how eq 'kill -9')
	{
		my $logfile = $self->{node}->logfile;
		my $offset = -s $logfile;
		kill 'KILL', $pid;
		for (1 .. 600)
		{
			last if substr(slurp_file($logfile), $offset) =~ /database system is ready to accept connections/;
			sleep 0.1;
		}
	}
	else
	{
		$self->{node}->safe_psql($self->{database}, "SELECT $how($pid)");
	}
	return 1;
}

# Wait for its end; true when it ended well.
sub finish
{
	my ($self) = @_;
	return IPC::Run::finish($self->{handle});
}

1;
