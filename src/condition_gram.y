%{
/*
 * condition_gram.y
 *		Grammar of the condition language: tokens to items.
 *
 * Left recursion throughout, so that a chain of any number of clauses needs no
 * depth.  Every action that may find a fault returns NULL after it was
 * reported, and ends the parse.
 */
#include "segment.h"

#include "condition_scan.h"
#include "condition_gram.h"

/*
 * The stack grows in palloc'd memory.  An opening parenthesis costs about ten
 * bytes of it; nesting that leaves something behind is limited by the stack
 * guard of the server when the condition is flattened, this only keeps a text
 * of nothing but parentheses from taking memory without end.
 */
#define YYMAXDEPTH 4000000
#define YYMALLOC palloc
#define YYFREE pfree

#define TRY(item) \
	do { \
		if ((item) == NULL) \
			YYABORT; \
	} while (0)

static ConditionItem *clause(ConditionKind kind, ConditionItem *figure, ConditionItem *operands);
static ConditionItem *list(ConditionItem *first);
static ConditionItem *negate(ConditionItem *clause);
%}

%define api.pure
%define api.prefix {segment_condition_yy}
%expect 0
%parse-param {ConditionReader *reader}
%parse-param {yyscan_t scanner}
%lex-param {ConditionReader *reader}
%lex-param {yyscan_t scanner}

%union
{
	ConditionItem *item;
	int			number;
	bool		flag;
}

/* text, position: every token */
%token <item>	NAME TEXT NUMBER VALUE
%token <item>	AND OR NOT TRUE_P FALSE_P NULL_P
%token <item>	BETWEEN IN_P IS DURING CONTAINS MATCHES
%token <item>	STARTS ENDS HAS WITH WORD ANY ALL
%token <number>	COMPARISON
%token <item>	INVALID			/* a fault that was reported already */

%type <item>	or and not primary clause figure name value number values operand
%type <item>	right_figure params param old_params old_param old_value pattern opt_params period
%type <number>	text_operator
%type <flag>	opt_not

%%

condition:
			or								{ reader->result = $1; }
		;

or:
			and
			| or OR and						{ $$ = segment_condition_combine(CONDITION_OR, $1, $3); }
		;

and:
			not
			| and AND not					{ $$ = segment_condition_combine(CONDITION_AND, $1, $3); }
		;

not:
			primary
			| NOT not						{ $$ = segment_condition_not($2); }
		;

primary:
			'(' or ')'						{ $$ = $2; }
			| TRUE_P						{ $$ = segment_condition_item(CONDITION_TRUE, $1->at); }
			| FALSE_P						{ $$ = segment_condition_item(CONDITION_FALSE, $1->at); }
			| clause
		;

clause:
			figure COMPARISON operand
				{
					$$ = clause(CONDITION_COMPARE, $1, $3);
					$$->detail = $2;
					if ($1->old_style)
						$$ = segment_condition_old_clause(reader, $$);
					else
						$$ = segment_condition_clause(reader, $$);
					TRY($$);
				}
			| figure COMPARISON NULL_P
				{
					segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, $3->at, $3->length,
											"a missing value is asked for with IS NULL",
											"Write IS NULL or IS NOT NULL.");
					YYABORT;
				}
			| figure opt_not BETWEEN value AND value
				{
					$$ = clause(CONDITION_BETWEEN, $1, segment_condition_add(list($4), $6));
					$$->negated = $2;
					$$ = segment_condition_clause(reader, $$);
					TRY($$);
				}
			| figure opt_not IN_P '(' values ')'
				{
					$$ = clause(CONDITION_IN, $1, $5);
					$$->negated = $2;
					$$ = segment_condition_clause(reader, $$);
					TRY($$);
				}
			| figure opt_not IN_P '(' ')'
				{
					segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, $3->at, $3->length,
											"IN needs at least one value",
											"Write IN ('a', 'b'); whether there is a value at all is asked with IS NULL.");
					YYABORT;
				}
			| figure IS NULL_P
				{
					$$ = segment_condition_clause(reader, clause(CONDITION_IS_NULL, $1, NULL));
					TRY($$);
				}
			| figure IS NOT NULL_P
				{
					$$ = segment_condition_clause(reader, negate(clause(CONDITION_IS_NULL, $1, NULL)));
					TRY($$);
				}
			| figure opt_not DURING period
				{
					$$ = clause(CONDITION_DURING, $1, list($4));
					$$->negated = $2;
					$$ = segment_condition_clause(reader, $$);
					TRY($$);
				}
			| figure opt_not text_operator pattern
				{
					$$ = clause($3, $1, $4);
					$$->negated = $2;
					$$->detail = $4->detail;
					$$ = segment_condition_clause(reader, $$);
					TRY($$);
				}
			| figure opt_not MATCHES '(' opt_params ')'
				{
					$$ = clause(CONDITION_MATCHES, $1, $5);
					$$->negated = $2;
					$$ = segment_condition_clause(reader, $$);
					TRY($$);
				}
		;

opt_not:
			/* empty */						{ $$ = false; }
			| NOT							{ $$ = true; }
		;

text_operator:
			CONTAINS						{ $$ = CONDITION_CONTAINS; }
			| STARTS WITH					{ $$ = CONDITION_STARTS_WITH; }
			| ENDS WITH						{ $$ = CONDITION_ENDS_WITH; }
			| HAS WORD						{ $$ = CONDITION_HAS_WORD; }
		;

/* a list of values; its detail is the quantifier */
pattern:
			value							{ $$ = list($1); }
			| '(' values ')'				{ $$ = $2; $$->detail = CONDITION_ANY; }
			| ANY value						{ $$ = list($2); }
			| ANY '(' values ')'			{ $$ = $3; $$->detail = CONDITION_ANY; }
			| ALL '(' values ')'			{ $$ = $3; $$->detail = CONDITION_ALL; $$->at = $1->at; }
		;

operand:
			value							{ $$ = list($1); }
			| right_figure					{ $$ = list($1); }
			| number '*' right_figure		{ $$ = segment_condition_add(list($3), $1); }
			| number '*' TEXT
				{
					ConditionItem *figure = segment_condition_figure(reader, $3, NULL);

					TRY(figure);
					$$ = segment_condition_add(list(figure), $1);
				}
			| number '*' TEXT '(' params ')'
				{
					ConditionItem *figure = segment_condition_figure(reader, $3, $5);

					TRY(figure);
					$$ = segment_condition_add(list(figure), $1);
				}
		;

right_figure:
			name
				{
					$$ = segment_condition_figure(reader, $1, NULL);
					TRY($$);
				}
			| name '(' params ')'
				{
					$$ = segment_condition_figure(reader, $1, $3);
					TRY($$);
				}
		;

/* On the left a name may be quoted, and wrapped in a function. */
figure:
			right_figure
			| TEXT
				{
					$$ = segment_condition_figure(reader, $1, NULL);
					TRY($$);
				}
			| TEXT '(' params ')'
				{
					$$ = segment_condition_figure(reader, $1, $3);
					TRY($$);
				}
			| name '(' figure ')'
				{
					$$ = segment_condition_apply(reader, $1, $3);
					TRY($$);
				}
			| name '(' old_params ')'
				{
					$$ = segment_condition_old_figure(reader, $1, $3);
					TRY($$);
				}
			| name '(' ')'
				{
					$$ = segment_condition_figure(reader, $1, NULL);
					TRY($$);
					$$->old_style = true;
				}
		;

/* words that mean something only where nothing else can stand */
name:
			NAME
			| STARTS
			| ENDS
			| HAS
			| WITH
			| WORD
			| ANY
			| ALL
		;

opt_params:
			/* empty */						{ $$ = list(NULL); }
			| params
		;

params:
			param							{ $$ = list($1); }
			| params ',' param				{ $$ = segment_condition_add($1, $3); }
			| params AND param				{ $$ = segment_condition_add($1, $3); }
			| params OR
				{
					segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, $2->at, $2->length,
											"inside these parentheses everything must hold together",
											"Join with a comma or AND; for OR write two clauses joined by OR, or IN (...).");
					YYABORT;
				}
		;

param:
			clause
			| NOT
				{
					segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, $1->at, $1->length,
											"NOT cannot begin a clause inside these parentheses",
											"Write !=, NOT IN, NOT BETWEEN, NOT CONTAINS and so on; NOT MATCHES asks that there be none.");
					YYABORT;
				}
		;

/* Shopify's older spelling: f(id: 1) = true */
old_params:
			old_param						{ $$ = list($1); }
			| old_params ',' old_param		{ $$ = segment_condition_add($1, $3); }
		;

old_param:
			name ':' old_value
				{
					ConditionItem *figure = segment_condition_figure(reader, $1, NULL);

					TRY(figure);
					$$ = clause($3->nchildren > 1 ? CONDITION_IN : CONDITION_COMPARE, figure, $3);
					$$ = segment_condition_clause(reader, $$);
					TRY($$);
				}
		;

old_value:
			value							{ $$ = list($1); }
			| '(' values ')'				{ $$ = $2; }
			| '[' values ']'				{ $$ = $2; }
		;

values:
			value							{ $$ = list($1); }
			| values ',' value				{ $$ = segment_condition_add($1, $3); }
		;

value:
			number
			| TEXT
			| VALUE
			| TRUE_P
				{
					$$ = segment_condition_item(CONDITION_BOOLEAN, $1->at);
					$$->number = 1;
				}
			| FALSE_P						{ $$ = segment_condition_item(CONDITION_BOOLEAN, $1->at); }
		;

number:
			NUMBER
		;

period:
			NAME
				{
					$$ = segment_condition_period(reader, $1, NULL);
					TRY($$);
				}
			| NAME '(' number ')'
				{
					$$ = segment_condition_period(reader, $1, $3);
					TRY($$);
				}
		;

%%

static ConditionItem *
list(ConditionItem *first)
{
	ConditionItem *item = segment_condition_item(CONDITION_TRUE, first ? first->at : 0);

	if (first)
		segment_condition_add(item, first);
	return item;
}

static ConditionItem *
clause(ConditionKind kind, ConditionItem *figure, ConditionItem *operands)
{
	ConditionItem *item = segment_condition_item(kind, figure->at);

	segment_condition_add(item, figure);
	if (operands)
		segment_condition_adopt(item, operands);
	return item;
}

static ConditionItem *
negate(ConditionItem *clause)
{
	clause->negated = true;
	return clause;
}
