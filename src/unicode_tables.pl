#!/usr/bin/perl
# Writes unicode_tables.h: what text_fold.c must know of Unicode, so that it is
# the same in every server and database, whatever locale or provider that has.
#
#   perl src/unicode_tables.pl > src/unicode_tables.h
#
# The facts come from the Perl that runs this, which knows one version of
# Unicode; the file says which. Run it again only to move to a newer one: every
# folded text that anybody stored or indexed may then change.
use strict;
use warnings;
use Unicode::UCD qw(charinfo prop_invlist prop_invmap);

my $version = Unicode::UCD::UnicodeVersion();

# [first, last] of every run of code points that have a property
sub runs
{
	my @list = prop_invlist($_[0]);
	my @runs;
	while (my ($first, $next) = splice(@list, 0, 2))
	{
		push @runs, [ $first, ($next // 0x110000) - 1 ];
	}
	return @runs;
}

# [letter, its lower case] for every letter that is not lower case itself
sub lower_cases
{
	my ($list, $map, $format, $default) = prop_invmap('Simple_Lowercase_Mapping');
	die "unexpected format $format" unless $format =~ /^a/ && $default eq '0';
	my @cases;
	for my $i (0 .. $#$list - 1)
	{
		next if $map->[$i] eq '0';
		push @cases, [ $_, $map->[$i] + $_ - $list->[$i] ] for $list->[$i] .. $list->[ $i + 1 ] - 1;
	}
	return @cases;
}

# Runs of letters whose lower case lies at the same distance; in half of the
# scripts that have cases every second letter is a capital: step 2.
my (@lower, %lower);
for my $case (lower_cases())
{
	my ($letter, $lower) = @$case;
	my $run = $lower[-1];
	$lower{$letter} = $lower;
	if ($run && $lower - $letter == $run->{distance})
	{
		my $step = $letter - $run->{last};
		if ($step <= 2 && ($run->{first} == $run->{last} || $step == $run->{step}))
		{
			@$run{qw(last step)} = ($letter, $step);
			next;
		}
	}
	push @lower, { first => $letter, last => $letter, distance => $lower - $letter, step => 1 };
}
for (values %lower)
{
	die sprintf('%04X is no lower case', $_) if exists $lower{$_};
}

# Digits come in runs of whole tens that begin with the digit zero.
my @digits = runs('Nd');
die 'digits are not in tens'
	if grep { ($_->[1] - $_->[0] + 1) % 10 || charinfo($_->[0])->{decimal} != 0 } @digits;
my @classes = sort { $a->[0] <=> $b->[0] } (
	(map { [ @$_, 'LETTER' ] } runs('L')),
	(map { [ @$_, 'MARK' ] } runs('M')),
	(map { [ @$_, 'DIGIT' ] } @digits));

# Not White_Space to Unicode, but nothing else is it for: a place between words.
my @spaces = sort { $a->[0] <=> $b->[0] } runs('White_Space'), [ 0x200B, 0x200B ];
for my $i (reverse 1 .. $#spaces)
{
	next if $spaces[$i][0] != $spaces[ $i - 1 ][1] + 1;
	$spaces[ $i - 1 ][1] = $spaces[$i][1];
	splice @spaces, $i, 1;
}

# What has no width and says nothing about the text: soft hyphen, marks of
# direction, word joiner, byte order mark. (Joiners, U+200C and U+200D, stay:
# Persian, the scripts of India and emoji are written with them.)
my @ignored = ([ 0x00AD, 0x00AD ], [ 0x061C, 0x061C ], [ 0x200E, 0x200F ],
	[ 0x202A, 0x202E ], [ 0x2060, 0x2060 ], [ 0x2066, 0x2069 ], [ 0xFEFF, 0xFEFF ]);

sub table
{
	my ($type, $name, $comment, @rows) = @_;
	print "/* $comment */\nstatic const $type $name\[] = {\n";
	print "\t{", join(', ', @$_), "},\n" for @rows;
	print "};\n\n";
}
sub hex4 { return sprintf('0x%04X', $_[0]) }

print <<"END";
/*
 * unicode_tables.h
 *		What text_fold.c must know of Unicode $version.
 *
 * Written by unicode_tables.pl; do not edit.
 */
#ifndef SEGMENT_UNICODE_TABLES_H
#define SEGMENT_UNICODE_TABLES_H

typedef struct CodeRange
{
	uint32		first;
	uint32		last;
} CodeRange;

typedef enum CharClass
{
	CHAR_OTHER,
	CHAR_LETTER,
	CHAR_MARK,
	CHAR_DIGIT
} CharClass;

typedef struct ClassRange
{
	uint32		first;
	uint32		last;
	CharClass	kind;
} ClassRange;

/* first, first + step, ... last become lower case by adding distance */
typedef struct LowerRange
{
	uint32		first;
	uint32		last;
	int32		distance;
	uint32		step;
} LowerRange;

END
table('LowerRange', 'lower_ranges', 'Simple_Lowercase_Mapping',
	map { [ hex4($_->{first}), hex4($_->{last}), $_->{distance}, $_->{step} ] } @lower);
table('ClassRange', 'class_ranges', 'General_Category L, M and Nd; runs of digits begin with a zero',
	map { [ hex4($_->[0]), hex4($_->[1]), "CHAR_$_->[2]" ] } @classes);
table('CodeRange', 'space_ranges', 'White_Space, and zero width space',
	map { [ hex4($_->[0]), hex4($_->[1]) ] } @spaces);
table('CodeRange', 'ignored_ranges', 'no width, no meaning: soft hyphen, direction marks, word joiner, byte order mark',
	map { [ hex4($_->[0]), hex4($_->[1]) ] } @ignored);
print "#endif\t\t\t\t\t\t\t/* SEGMENT_UNICODE_TABLES_H */\n";
