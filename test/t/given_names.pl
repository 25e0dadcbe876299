# "Everybody called Dũng, An or Lâm" among real Vietnamese names: the given name
# is the last word, so nobody gets in by a family or middle name, and it is the
# same name however it is written: composed or decomposed, Đ or Ð, hoà or hòa,
# in capitals, with spaces of any kind.
#
# The names (duyet/vietnamese-namedb, MIT) are not part of the project:
#
#   SEGMENT_DATA=directory   holds vietnam/given_names_{female,male}.txt
#                            (default: ../shared/data beside the project)
#   SEGMENT_SEED=number      other families, middle names and spellings

use strict;
use warnings;
use utf8;

use Encode qw(encode_utf8);
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unicode::Normalize qw(NFC NFD);

my $data = ($ENV{SEGMENT_DATA} // "$FindBin::RealBin/../../../shared/data") . '/vietnam';
my @files = map { "$data/given_names_$_.txt" } qw(female male);
for my $file (@files)
{
	plan skip_all => "Vietnamese names are not here, or not readable: $file (set SEGMENT_DATA to the directory above)" unless -r $file;
}
my $seed = $ENV{SEGMENT_SEED} // 1954;
srand($seed);
note("seed $seed");

# a middle and a given name, or a given name alone
my @names;
for my $file (@files)
{
	open(my $handle, '<:encoding(UTF-8)', $file) or die "$file: $!";
	push @names, grep { $_ ne '' } map { NFC(s/^\s+|\s+$//gr) } <$handle>;
	close($handle);
}
cmp_ok(scalar(@names), '>', 2000, 'names were read: ' . @names);

# ways to write the same name

my @tone_pairs = map { [ split / / ] } ('òa oà', 'óa oá', 'ỏa oả', 'õa oã', 'ọa oạ', 'òe oè', 'óe oé', 'ỏe oẻ', 'õe oẽ', 'ọe oẹ',
	'ùy uỳ', 'úy uý', 'ủy uỷ', 'ũy uỹ', 'ụy uỵ');

# tone marks of a final oa, oe, uy on the first or the second vowel; not after q
sub move_tones
{
	my ($name, $second) = @_;

	for my $pair (@tone_pairs)
	{
		my ($from, $to) = $second ? @$pair : reverse @$pair;
		for ([ $from, $to ], [ uc $from, uc $to ])
		{
			my ($f, $t) = @$_;
			$name =~ s/(?<![qQ])$f(?!\p{L})/$t/g;
		}
	}
	return $name;
}

sub pick { return $_[ rand @_ ]; }

sub spelled
{
	my ($name) = @_;
	my $space = pick(' ', ' ', '  ', "\x{a0}", "\t");

	$name = move_tones($name, rand() < 0.5);
	$name = pick($name, uc $name, lc $name);
	$name =~ s/ /$space/g;
	$name =~ tr/Đđ/Ðð/ if rand() < 0.5;
	return pick('', '', ' ') . $name . pick('', '', ' ');
}

# one spelling for each name, made without the extension
sub plain
{
	return move_tones((lc NFC($_[0])) =~ tr/ð/đ/r, 0);
}

# Each name with families and middle names of which some are those looked for;
# every customer twice, composed and decomposed.
my @wanted = ('Dũng', 'An', 'Lâm');
my %is_wanted = map { plain($_) => 1 } @wanted;
my @families = ('Nguyễn', 'Trần', 'Lê', 'Lâm', 'An', 'Đặng', 'Đỗ', 'Hoàng', 'Quách', 'Võ', 'Phạm', 'Bùi', 'Lý', 'Đinh');
my @middles = ('', '', 'Văn', 'Thị', 'An', 'Lâm', 'Dũng', 'Đình', 'Hoà');
my (@people, %given, %count);
my $decoys = 0;
for my $name (@names, ('Quang Dũng', 'Thúy An', 'Hoài An', 'Tùng Lâm', 'Trúc Lâm', 'Thuỳ Dung', 'Dụng', 'Ân', 'Lam') x 3)
{
	for (1 .. 2)
	{
		my @words = grep { $_ ne '' } (pick(@families), pick(@middles), split / +/, $name);
		my $is = $is_wanted{ plain($words[-1]) } // 0;
		my $written = spelled("@words");

		push @people, { name => NFC($written), given => plain($words[-1]), wanted => $is };
		push @people, { name => NFD($written), given => plain($words[-1]), wanted => $is };
		$given{ $words[-1] }++;
		$count{ plain($words[-1]) } += 2;
		$decoys += 2 if !$is && grep { $is_wanted{ plain($_) } } @words;
	}
}

my $node = PostgreSQL::Test::Cluster->new('names');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION segment; CREATE TABLE people (id integer PRIMARY KEY, full_name text, truly text, wanted boolean)');
my $n = 0;
$node->safe_psql('postgres', encode_utf8("COPY people FROM STDIN;\n"
	  . join('', map { join("\t", ++$n, $_->{name} =~ s/\t/\\t/gr, $_->{given}, $_->{wanted}) . "\n" } @people) . "\\.\n"));
$node->safe_psql('postgres', q(SELECT segment.attach_customers('people', key => 'id', name => 'full_name')));
note("$n customers, $decoys with one of the three as family or middle name only");

# a query's answer; its text may have any letters
sub ask
{
	my ($query) = @_;
	return $node->safe_psql('postgres', encode_utf8($query));
}

my $in = sub { my ($form) = @_; return "given_name IN (" . join(', ', map { q('') . $form->($_) . q('') } @wanted) . ")"; };
my $mistakes = sub {
	my ($condition) = @_;
	return ask("SELECT count(*) FILTER (WHERE NOT wanted), count(*) FILTER (WHERE wanted), (SELECT count(*) FROM people WHERE wanted)
		FROM segment.preview('$condition') JOIN people ON id = customer_id");
};
my $all = grep { $_->{wanted} } @people;

cmp_ok($decoys, '>', 500, 'many bear one of the names in front of another');
is($mistakes->($in->(\&NFC)), "0|$all|$all", 'nobody gets in by a family or middle name, and everybody so called is in');
is($mistakes->($in->(\&NFD)), "0|$all|$all", 'nor when the condition is written decomposed');
is($mistakes->($in->(sub { uc $_[0] })), "0|$all|$all", 'nor in capitals');
for my $name (@wanted)
{
	is(ask("SELECT count(*) FROM segment.preview('given_name = ''$name''')"), $count{ plain($name) }, encode_utf8("$name: all of them"));
}
is(ask("SELECT count(*) FROM (SELECT customer_id FROM segment.preview('" . $in->(\&NFC) . "') WHERE customer_id % 2 = 1) a
	FULL JOIN (SELECT customer_id FROM segment.preview('" . $in->(\&NFC) . "') WHERE customer_id % 2 = 0) b ON b.customer_id = a.customer_id + 1
	WHERE a.customer_id IS NULL OR b.customer_id IS NULL"),
	'0', 'composed and decomposed the same people are found');
my $sql = $node->safe_psql('postgres', encode_utf8("SELECT segment.to_sql('" . $in->(\&NFC) . "')"));
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE p.wanted) FROM ($sql) s JOIN people p ON p.id = s.key"), "$all|$all", 'and by the plain SQL');

# every given name of the lists, not these three alone
is($node->safe_psql('postgres', q(SELECT count(*) FROM people WHERE segment._given_name(full_name) IS DISTINCT FROM segment.fold(truly))),
	'0', 'the given name of every customer is the last word');
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT truly, '+') FROM people GROUP BY segment._given_name(full_name) HAVING count(DISTINCT truly) > 1)),
	'', 'and no two names are taken for one, of ' . scalar(keys %count));
my @some = (sort keys %given)[ map { int rand keys %given } 1 .. 25 ];
for my $name (@some)
{
	is(ask("SELECT segment.preview_count('given_name = ''" . spelled($name) . "''')"), $count{ plain($name) }, encode_utf8("called $name"));
}

# what it would be to ask for the word anywhere, or without accents
my $anywhere = ask("SELECT segment.preview_count('name HAS WORD ''An''')");
my $called = ask("SELECT segment.preview_count('given_name = ''An''')");
cmp_ok($anywhere, '>', 2 * $called, "the word anywhere in the name would be another question ($anywhere, not $called)");
my $spoken = ask("SELECT segment.preview_count('unaccented(given_name) HAS WORD ''dung''')");
is($spoken, ($count{'dũng'} // 0) + ($count{'dung'} // 0) + ($count{'dụng'} // 0) + ($count{'dùng'} // 0) + ($count{'dưng'} // 0) + ($count{'dựng'} // 0) + ($count{'đụng'} // 0) + ($count{'đừng'} // 0) + ($count{'dừng'} // 0)
	 + ($count{'đũng'} // 0) + ($count{'đúng'} // 0) + ($count{'đứng'} // 0), 'without accents all that sound alike');

# a column of given names, where the shop has one: as it is, however many words
$node->safe_psql('postgres', q(
	ALTER TABLE people ADD first text;
	UPDATE people SET first = CASE WHEN id % 3 = 0 THEN truly END;
	SELECT segment.detach('people');
	SELECT segment.attach_customers('people', key => 'id', name => 'full_name', given_name => 'first')));
is(ask("SELECT segment.preview_count('" . $in->(\&NFC) . "')"), $node->safe_psql('postgres', 'SELECT count(*) FROM people WHERE wanted AND id % 3 = 0'),
	'a mapped column of given names is asked instead of the name');

$node->stop;
done_testing();
