/*
 * source.h
 *		Attached tables: mapping, generated SQL.
 */
#ifndef SEGMENT_SOURCE_H
#define SEGMENT_SOURCE_H

#include "access/tupdesc.h"
#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "nodes/primnodes.h"
#include "segment.h"
#include "utils/typcache.h"

/* columns of a source's view that judging needs, in any order there */
typedef enum SourceField
{
	FIELD_KEY,
	FIELD_CUSTOMER,
	FIELD_PARENT_KEY,			/* order_key, return_key */
	FIELD_AMOUNT,
	FIELD_AT,
	FIELD_CURRENCY,
	FIELD_ITEMS,				/* items; quantity of lines */
	FIELD_COUNTED,
	FIELD_COUNT					/* last: how many there are */
} SourceField;

typedef struct FieldMapping
{
	bool		mapped;
	Expr	   *expr;			/* over the table's row, as varno 1 */
	AttrNumber	attno;			/* where it is a plain column, else 0 */
	Oid			type;
} FieldMapping;

/*
 * A table whose rows decide what rows of a source mean: it is read by an
 * expression, or it is the parent, whose rows this source's rows name: orders
 * of returns and order lines, returns of return lines.
 */
typedef struct Link
{
	Oid			relid;			/* the watched table */
	bool		traceable;		/* rows of the source can be found from its rows */
	AttrNumber	attno;			/* the watched table's column that is looked up */
	Oid			type;			/* of that column */
	bool		may_raise;		/* the source's side of the lookup may */
	bool		guarded;		/* a foreign key: a new row cannot have been named before */
	char	   *outer_sql;		/* the source's side, over its row "t" */
	Oid			equality;		/* operator (source's side, column) */
	struct Link *via;			/* looked up by a column of another watched table instead */
	AttrNumber	via_attno;
	char	   *rows_sql;		/* keys of the rows that look up any of $1, or whose they are: see segment_is_counted() */
	char	   *values_sql;		/* array of what a row "t" looks up */
	SPIPlanPtr	rows_plan;
} Link;

/* keeps our advisory locks apart from pg_advisory_lock() */
#define LINK_DOOR_CLASS 0x5E67

/* of advisory locks on a linked source: those who change what its rows mean, and recomputations */
#define UNKNOWN_ROWS_DOOR 2

/* plans of one source, made when first needed (fact.c) */
typedef enum SourcePlan
{
	PLAN_READ_ROWS,
	PLAN_READ_PARENTS,
	PLAN_READ_LINKS,
	PLAN_READ_OLD_LINKS,
	PLAN_READ_OLD_CUSTOMERS,
	PLAN_LEDGER_READ,
	PLAN_LEDGER_DELETE,
	PLAN_LEDGER_INSERT,
	PLAN_DATES,
	SOURCE_PLANS
} SourcePlan;

/* plans on our own tables (fact.c, standing.c) */
typedef enum SetPlan
{
	PLAN_FACTS_UPDATE,
	PLAN_FACTS_UPSERT,
	PLAN_FACTS_BUMP,
	PLAN_FACTS_FILLED,
	PLAN_FACTS_EXISTENCE,
	PLAN_FACTS_PRUNE,
	PLAN_FACTS_DATES,
	PLAN_FACTS_DUE,
	PLAN_FACTS_READ,
	PLAN_FACTS_WAKE,
	PLAN_LEFT_OUT_ADD,
	PLAN_LEFT_OUT_PRUNE,
	PLAN_LEFT_OUT_FORGET,
	PLAN_STANDINGS_READ,
	PLAN_STANDINGS_WRITE,
	PLAN_STANDINGS_DELETE,
	PLAN_CHANGES_WRITE,
	SET_PLANS
} SetPlan;

/* a column of a source's mapping */
typedef struct SourceColumn
{
	char	   *name;
	Oid			type;
	bool		is_null;		/* nothing was given for it */
} SourceColumn;

typedef struct Source
{
	int			id;
	Oid			relid;
	Oid			owner;			/* of the merchant's table */
	SourceRole	role;
	char	   *name;			/* schema.table, as written to segment.changes */
	char	   *mapping_sql;	/* the view's definition, in parentheses */
	char	   *currency;		/* the shop's, where a currency is mapped */
	FieldMapping fields[FIELD_COUNT];
	int			ncolumns;
	SourceColumn *columns;		/* all that is mapped */
	Bitmapset  *reads;			/* columns of the table that are mapped, offset as everywhere */
	bool		linked;			/* its rows' meaning depends on other tables */
	bool		grouped;		/* lines without a key: what counts is their sum per parent */
	bool		key_may_repeat; /* partitioned: its key is unique within a partition only */
	bool		counts_items;	/* items are its own, not those of lines that name it */
	bool		filling;		/* attached with fill => false, not everyone is filled yet */
	bool		may_raise;		/* an expression over the row may raise */
	int			parent;			/* index of the source that its rows name, or -1 */
	char	   *old_customers_sql;	/* linked: customer, key of the parent of rows "old_rows" */
	int			nlinks;
	Link	   *links;
	SPIPlanPtr	plans[SOURCE_PLANS];
} Source;

/* everything attached in this database */
typedef struct SourceSet
{
	MemoryContext context;
	uint64		generation;
	Oid			owner;			/* of our tables */
	Oid			facts;			/* segment.facts, InvalidOid without customers */
	Oid			attachments;
	Oid			key_type;		/* of the customers' key */
	char	   *key_type_name;
	const char *key_order;		/* collation clause for ORDER BY on keys */
	Oid			key_array_type;
	TypeCacheEntry *key_cache;	/* length, alignment, comparison */
	int			nanonymous;
	Datum	   *anonymous;
	char	   *anonymous_sql;	/* literal of the array of anonymous keys */
	bool		is_here;		/* the state belongs to this database: see segment.epoch */
	int			newest;			/* greatest id of a source */
	int			nsources;
	Source	   *sources;		/* in order of their ids */
	SPIPlanPtr	plans[SET_PLANS];
} SourceSet;

extern SourceSet *segment_sources_acquire(void);
extern bool segment_sources_current(SourceSet *set);
extern void segment_sources_release(void);
extern bool segment_sources_shared(void);
extern void segment_sources_changed(Oid attachments);
extern void segment_sources_init(void);

extern const char *segment_role_name(SourceRole role);
extern const char *segment_role_names(void);
extern bool segment_role_by_name(const char *name, SourceRole *role);
extern bool segment_is_lines(SourceRole role);
extern bool segment_is_counted(SourceRole role);
extern const char *segment_field_column(SourceRole role, SourceField field);
extern SourceField segment_ledger_field(const Source *source);
extern const SourceColumn *segment_source_column(const Source *source, const char *name);
extern Source *segment_source_by_id(SourceSet *set, int id);
extern Source *segment_customers_source(SourceSet *set);
extern bool segment_is_anonymous(SourceSet *set, Datum customer);
extern int	segment_compare_customers(SourceSet *set, Datum a, Datum b);
extern Datum segment_copy_customer(SourceSet *set, Datum customer);
extern Oid	segment_facts_relation(void);
extern bool segment_is_restored(void);
extern void segment_stand_aside(void);
extern void segment_lock_bounded(Oid relid);
extern void segment_lock_facts(void);
extern void segment_lock_rules(void);
extern void segment_keep_recomputation_out(Source *source);
extern void segment_recompute_alone(SourceSet *set);
extern void segment_require_read_committed(const char *doing);
extern void segment_mark_stale(SourceSet *set, int source, const char *reason);

#endif							/* SEGMENT_SOURCE_H */
