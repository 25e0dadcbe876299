/*
 * condition.h
 *		The condition language: the type segment.condition.
 *
 * Purely syntactic.  Names are not looked up here: whoever binds a condition
 * to a shop walks it with the cursor below and judges names and types.
 *
 * Three shapes:
 *		ConditionItem	while a text or a rule tree is being read: pointers
 *		Condition		the value: a varlena without pointers or OIDs
 *		ConditionNode	cursor on one node of a value; nobody but condition.c
 *						knows what lies where
 *
 * Everything is brought to its canonical form before it is flattened (aliases,
 * numbers, double negations, nested AND in AND), so two conditions are equal
 * exactly when their bytes are.  That is also why a value holds no positions of
 * the source text: an error at binding quotes segment_condition_node_text() and
 * names its place in the canonical text, segment_condition_node_position().
 */
#ifndef SEGMENT_CONDITION_H
#define SEGMENT_CONDITION_H

#include "segment.h"

#include "lib/stringinfo.h"

/* The children of a node are written behind its kind, in their order. */
typedef enum ConditionKind
{
	/* what combines */
	CONDITION_OR,				/* two or more */
	CONDITION_AND,				/* two or more */
	CONDITION_NOT,				/* one, never a NOT */
	CONDITION_TRUE,
	CONDITION_FALSE,

	/* clauses: child 0 is the FIGURE that is asked */
	CONDITION_COMPARE,			/* figure, value or figure [, factor: a NUMBER] */
	CONDITION_BETWEEN,			/* figure, low, high */
	CONDITION_IN,				/* figure, values */
	CONDITION_IS_NULL,			/* figure; negated: IS NOT NULL */
	CONDITION_DURING,			/* figure, PERIOD */
	CONDITION_CONTAINS,			/* figure, values */
	CONDITION_STARTS_WITH,		/* figure, values */
	CONDITION_ENDS_WITH,		/* figure, values */
	CONDITION_HAS_WORD,			/* figure, values */
	CONDITION_MATCHES,			/* figure (the event), clauses over its fields */

	/* name, and the clauses that narrow it */
	CONDITION_FIGURE,

	/* values */
	CONDITION_NUMBER,			/* text: canonical decimal, input for numeric */
	CONDITION_TEXT,
	CONDITION_BOOLEAN,			/* number: 0, 1 */
	CONDITION_DATE,				/* number: days since 2000-01-01, a DateADT */
	CONDITION_DATETIME,			/* number: microseconds since 2000-01-01, a Timestamp */
	CONDITION_OFFSET,			/* number of units from today */
	CONDITION_DAY,				/* number: -1 yesterday, 0 today, 1 tomorrow */
	CONDITION_PERIOD			/* number: 0 this, -1 last, 1 next, -2 the one before last ... */
} ConditionKind;

/* node->detail, by kind of node */
typedef enum ConditionOperator	/* of COMPARE */
{
	CONDITION_EQ,
	CONDITION_NE,
	CONDITION_LT,
	CONDITION_LE,
	CONDITION_GT,
	CONDITION_GE
} ConditionOperator;

typedef enum ConditionQuantifier	/* of CONTAINS ... HAS_WORD */
{
	CONDITION_ONE,				/* one value */
	CONDITION_ANY,				/* two or more */
	CONDITION_ALL				/* two or more; CONTAINS only */
} ConditionQuantifier;

typedef enum ConditionFunction	/* of FIGURE */
{
	CONDITION_PLAIN,
	CONDITION_UNACCENTED,		/* under CONTAINS ... HAS_WORD only */
	CONDITION_ANNIVERSARY		/* under COMPARE, BETWEEN, DURING only */
} ConditionFunction;

typedef enum ConditionUnit		/* of OFFSET (the first four) and PERIOD */
{
	CONDITION_DAYS,
	CONDITION_WEEKS,
	CONDITION_MONTHS,
	CONDITION_YEARS,
	CONDITION_QUARTERS,
	CONDITION_HALF_YEARS,
	CONDITION_LADDER_PERIODS
} ConditionUnit;

/* the value */
typedef struct Condition
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	uint32		header;			/* layout version */
	char		data[FLEXIBLE_ARRAY_MEMBER];
} Condition;

#define CONDITION_LAYOUT_VERSION	1
#define CONDITION_WIRE_VERSION		1	/* of recv and send */

/* The canonical text of a condition is never longer than this. */
#define CONDITION_MAX_LENGTH		(8 * 1024 * 1024)

#define DatumGetConditionP(d)		((Condition *) PG_DETOAST_DATUM(d))
#define PG_GETARG_CONDITION_P(n)	DatumGetConditionP(PG_GETARG_DATUM(n))
#define PG_RETURN_CONDITION_P(p)	PG_RETURN_POINTER(p)

/* cursor: filled by segment_condition_root() and segment_condition_child() */
typedef struct ConditionNode
{
	const Condition *condition;
	int32		offset;			/* tells nodes of one condition apart */
	uint8		kind;			/* ConditionKind */
	uint8		detail;			/* one of the enums above */
	bool		negated;		/* NOT BETWEEN, NOT IN, ... */
	int32		nchildren;
	int32		length;			/* bytes of text */
	const int32 *children;		/* use segment_condition_child() */
	const char *text;			/* NUMBER, TEXT; name of a FIGURE; ends with a NUL */
	int64		number;			/* the other values */
} ConditionNode;

extern void segment_condition_root(const Condition *condition, ConditionNode *node);
extern void segment_condition_child(const ConditionNode *node, int n, ConditionNode *child);
extern char *segment_condition_text(const Condition *condition);
extern const Condition *segment_condition_rename_groups(const Condition *condition,
														const char *const *from, const char *const *to, int n);
extern char *segment_condition_node_text(const ConditionNode *node);
extern int	segment_condition_node_position(const ConditionNode *node);

/* a condition that is being read */
typedef struct ConditionItem
{
	uint8		kind;
	uint8		detail;
	bool		negated;
	bool		old_style;		/* FIGURE: parameters as name: value, or () */
	int32		at;				/* byte offset in the source text */
	int32		length;			/* bytes of text */
	int32		nchildren;
	char	   *text;
	int64		number;
	struct ConditionItem *next; /* sibling */
	struct ConditionItem *first;
	struct ConditionItem *last;
} ConditionItem;

/* State of reading, whatever the source: text, or a rule tree where path is set. */
typedef struct ConditionReader
{
	struct Node *escontext;		/* where soft errors go */
	const char *source;
	StringInfo	path;			/* place in a rule tree: rules[2].value */
	ConditionItem *result;

	/* the scanner's */
	int32		token_at;
	int32		token_length;
	int32		next_at;
	int			token;
	int			previous_token;
	int			parentheses;	/* open ones */
} ConditionReader;

/* condition.c, for the readers */
extern ConditionItem *segment_condition_item(ConditionKind kind, int32 at);
extern ConditionItem *segment_condition_add(ConditionItem *parent, ConditionItem *child);
extern ConditionItem *segment_condition_adopt(ConditionItem *parent, ConditionItem *list);
extern ConditionItem *segment_condition_combine(ConditionKind kind, ConditionItem *left, ConditionItem *right);
extern ConditionItem *segment_condition_not(ConditionItem *item);
extern ConditionItem *segment_condition_figure(ConditionReader *reader, ConditionItem *name, ConditionItem *params);
extern ConditionItem *segment_condition_apply(ConditionReader *reader, ConditionItem *function, ConditionItem *figure);
extern ConditionItem *segment_condition_old_figure(ConditionReader *reader, ConditionItem *name, ConditionItem *params);
extern ConditionItem *segment_condition_clause(ConditionReader *reader, ConditionItem *clause);
extern ConditionItem *segment_condition_old_clause(ConditionReader *reader, ConditionItem *clause);
extern ConditionItem *segment_condition_number(ConditionReader *reader, const char *text, int length, int32 at);
extern ConditionItem *segment_condition_string(const char *text, int length, int32 at);
extern ConditionItem *segment_condition_date(ConditionReader *reader, const char *text, int length, int32 at);
extern ConditionItem *segment_condition_offset(ConditionReader *reader, const char *text, int length, int32 at);
extern ConditionItem *segment_condition_period(ConditionReader *reader, ConditionItem *name, ConditionItem *count);
extern bool segment_condition_period_name(const char *name, ConditionUnit *unit, int *number);
extern ConditionItem *segment_condition_word(ConditionReader *reader, const char *text, int length);
extern bool segment_condition_spelled_as_word(const char *text, int length);
extern bool segment_condition_spelled_as_number(const char *text, int length);
extern Condition *segment_condition_flatten(ConditionReader *reader, ConditionItem *root);
extern void segment_condition_fault(ConditionReader *reader, int sqlstate, int32 at, int32 length,
									const char *message, const char *hint);

/* condition_scan.l */
extern void segment_condition_parse(ConditionReader *reader, const char *text, int length);

#endif							/* SEGMENT_CONDITION_H */
