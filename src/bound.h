/*
 * bound.h
 *		A condition whose names are looked up in a shop.
 */
#ifndef SEGMENT_BOUND_H
#define SEGMENT_BOUND_H

#include "calendar.h"
#include "condition.h"
#include "nodes/pg_list.h"
#include "source.h"
#include "vocabulary.h"

/* what is added up over the events that a figure is about */
typedef enum Aggregate
{
	AGGREGATE_NONE,
	AGGREGATE_COUNT,
	AGGREGATE_AMOUNT,
	AGGREGATE_QUANTITY,
	AGGREGATE_POINTS
} Aggregate;

typedef struct BoundNode BoundNode;

/*
 * A figure of a customer.  Each distinct one has a slot of its own in the
 * vector over which a condition is evaluated.
 */
typedef struct BoundFigure
{
	const Word *word;
	ValueType	type;
	const char *text;			/* as it is written */
	const char *column;			/* WORD_CUSTOM: "custom.x" of the customers' mapping */
	bool		instant;		/* a date that is the day of an instant */
	Aggregate	aggregate;
	Narrowing	event;			/* of what is added up */
	List	   *narrow;			/* of BoundNode: clauses over fields, all must hold */
	int			months;			/* monthly_average(months = n); 0: since the first order */
	const struct BoundLadder *ladder;	/* of WORD_TIER */
	struct BoundFigure *base;	/* WORD_TIER: what the ladder stands on */
	int			slot;
} BoundFigure;

typedef struct BoundTier
{
	char	   *code;
	char	   *min_value;
	bool		active;
	int			rank;
} BoundTier;

typedef struct BoundLadder
{
	char	   *code;
	char	   *figure;
	bool		active;
	bool		is_default;
	int			ntiers;
	BoundTier  *tiers;			/* by min_value */
} BoundLadder;

typedef struct BoundValue
{
	ConditionKind kind;			/* NUMBER, TEXT, BOOLEAN, DATE, DATETIME, OFFSET or DAY */
	char	   *text;			/* NUMBER, TEXT */
	int64		number;			/* as in ConditionNode */
	DayOffset	offset;			/* OFFSET */
	List	   *also;			/* of char *: other spellings of a region that mean this one */
} BoundValue;

/* a value of a clause on a text or a list, as it is compared */
typedef struct ValueKey
{
	text	   *key;
	int			value;			/* which one */
} ValueKey;

struct BoundNode
{
	ConditionKind kind;			/* OR, AND, NOT, TRUE, FALSE, or a clause but MATCHES */
	uint8		detail;			/* as in ConditionNode */
	bool		negated;
	List	   *children;		/* of BoundNode */

	BoundFigure *figure;		/* what is asked: a figure, or */
	const char *field;			/* a field of an event: its name, or "custom.x" */
	ValueType	type;
	bool		instant;
	bool		unaccented;
	bool		anniversary;
	List	   *values;			/* of BoundValue * */
	ValueKey   *keys;			/* of texts and lists: see segment_condition_prepare() */
	int			nkeys;
	Period		period;
	BoundFigure *other;			/* COMPARE with a figure */
	char	   *factor;			/* of it, or NULL */
};

/* a group that a condition may name */
typedef struct BoundGroup
{
	int			id;
	char	   *code;
	bool		active;
	bool		notify;			/* entries and exits are announced */
	bool		fixed;			/* filled by people */
	BoundNode  *root;			/* its condition, NULL where it is fixed, inactive or does not bind */
	const char *fault;			/* why it does not bind */
	int			instead_of;		/* pending: id of the group whose condition this one is to replace; else 0 */
	int			present;		/* pending: index of that group as it is now */
} BoundGroup;

/*
 * Conditions over one vector of figures: some that are asked, and those of
 * groups.  A group comes after the groups that its condition names, and what is
 * pending after all of them: no condition can name it.
 */
typedef struct Bound
{
	int			nroots;
	BoundNode **roots;
	int			ngroups;
	BoundGroup **groups;
	int			nfigures;
	int			nasked;			/* the first of them are those that the roots themselves name */
	BoundFigure **figures;		/* by slot */
} Bound;

/* What evaluating takes besides figures: an instant, the shop's zone and phones. */
typedef struct Shop
{
	TimestampTz at;
	DateADT		today;
	pg_tz	   *zone;
	char	   *zone_name;
	char	   *phone_rules;	/* as text */
	struct PhoneRules *phones;
	bool		given_name_first;	/* the given name is the first word, not the last */
} Shop;

extern Bound *segment_bind(SourceSet *set, int nconditions, const Condition *const *conditions);
extern Bound *segment_bind_groups(SourceSet *set, const char *code, const Condition *instead);
extern Bound *segment_bind_rules(SourceSet *set);
extern List *segment_named_groups(const Condition *condition);
extern const Condition *segment_group_condition(SourceSet *set, const char *code, bool *active);
extern void segment_bind_saved(SourceSet *set, const int *ids, int n);
extern bool segment_is_personal(const BoundFigure *figure);
extern Source *segment_custom_source(SourceSet *set, Narrowing event, const char *column);
extern ValueType segment_column_type(const SourceColumn *column, bool *instant);
extern const char *segment_missing_feed(SourceSet *set, const Word *word);
extern const char *segment_missing_field(SourceSet *set, Narrowing event, const char *field);
extern bool segment_is_mapped(SourceSet *set, SourceRole role, const char *column);
extern bool segment_roles_of_event(Narrowing event, SourceRole role);

#endif							/* SEGMENT_BOUND_H */
