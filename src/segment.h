/*
 * segment.h
 *		Words of the domain and version shims, for every file of the extension.
 *
 * A file uses only the rows below its own:
 *
 *		segment.c			module, server settings
 *		worker.c			ticks by background workers
 *		tick.c				due work, and what views compute on the spot
 *		attach.c			attach and detach tables
 *		explain.c			why a customer satisfies a condition
 *		preview.c			conditions asked of a shop
 *		not_read.c			values that nothing can be read from
 *		activate.c			conditions put into force while the shop sells
 *		ladder.c, group.c	what the merchant decides: validation
 *		rule.c				what their changes have in common: lock, history, guard
 *		ddl.c				DDL on attached tables: partitions that come and go
 *		fact.c				triggers: what a statement changes
 *		recalculate.c		all again, stored against recomputed
 *		judge.c				figures read, customers classified, overdue instants replayed
 *		standing.c			write standings, log changes
 *		stale.c				sources whose state may be wrong
 *		ruleset.c			ladders and groups compiled, the instant of judging
 *		figure.c			figures of customers, read from the attached tables
 *		row.c				what one row of an attached table means
 *		classify.c			the judgement: pure
 *		condition_sql.c		the SQL that defines a condition, and reads figures by key
 *		condition_change.c	when a condition may change by time alone: pure
 *		condition_eval.c	whether a condition holds: pure
 *		bind.c				names of a condition looked up in a shop
 *		source.c			attached tables: mapping, generated SQL
 *		configuration.c		settings of the shop
 *		vocabulary.c		names of the condition language: type, what each needs
 *		condition.c, condition_gram.y, condition_scan.l, condition_json.c
 *							the condition language
 *		calendar.c			shop days: pure;  points.c  ledgers of points: pure
 *		text_fold.c			how texts compare: pure
 *		result_set.c		rows that a function returns;  saved_plan.c  SPI plans and identities
 */
#ifndef SEGMENT_H
#define SEGMENT_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#if PG_VERSION_NUM < 140000
#error "segment needs PostgreSQL 14 or later"
#endif

/* Before 16 there are no soft errors: written as for 16, they are raised. */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#include "varatt.h"
#else
#define errsave(context, ...) ereport(ERROR, __VA_ARGS__)
#define ereturn(context, dummy_value, ...) \
	do { \
		ereport(ERROR, __VA_ARGS__); \
		return dummy_value; \
	} while (0)
#define SOFT_ERROR_OCCURRED(context) ((void) (context), false)
#endif

/* From 18 on; it goes before everything else of a declaration. */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

#if PG_VERSION_NUM >= 170000
#define my_local_xid() (MyProc->vxid.lxid)
#else
#define my_local_xid() (MyProc->lxid)
#endif

/* what a trigger's rows hold in such columns is undefined */
#if PG_VERSION_NUM >= 180000
#define is_virtual_column(relid, attno) (get_attgenerated(relid, attno) == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define is_virtual_column(relid, attno) false
#endif

/* what a table is to the shop */
typedef enum SourceRole
{
	ROLE_CUSTOMERS,
	ROLE_ORDERS,
	ROLE_RETURNS,
	ROLE_ORDER_LINES,
	ROLE_RETURN_LINES,
	ROLE_POINTS,
	ROLE_OFFERS,
	ROLE_TAGS
} SourceRole;

/* why a standing changed, as written to segment.changes */
typedef enum Cause
{
	CAUSE_ORDER,
	CAUSE_CANCELLATION,
	CAUSE_EDIT,
	CAUSE_RETURN,
	CAUSE_PROFILE,
	CAUSE_TAG,
	CAUSE_POINTS,
	CAUSE_OFFERS,
	CAUSE_TIME,
	CAUSE_RULE,
	CAUSE_ATTACH,
	CAUSE_RECALCULATION
} Cause;

/* figures that a ladder can stand on; names in classify.c */
typedef enum Figure
{
	FIGURE_AMOUNT_SPENT,
	FIGURE_AMOUNT_ORDERED,
	FIGURE_AMOUNT_RETURNED,
	FIGURE_NUMBER_OF_ORDERS,
	FIGURE_NUMBER_OF_RETURNS,
	FIGURE_ITEMS_BOUGHT,
	FIGURE_ITEMS_RETURNED,
	FIGURE_UNKNOWN				/* last: also the number of figures */
} Figure;

/* one row of segment.facts */
typedef struct Facts
{
	Datum		customer;
	int64		version;
	bool		is_customer;
	int64		number_of_orders;
	Numeric		amount_ordered;
	TimestampTz first_order_at; /* DT_NOEND where NULL */
	TimestampTz last_order_at;	/* DT_NOBEGIN where NULL */
	int64		number_of_returns;
	Numeric		amount_returned;
	Numeric		items_bought;
	Numeric		items_returned;
	TimestampTz due;			/* when the standing may next change by time alone, DT_NOEND where NULL */
} Facts;

/* segment.c: server settings */
extern bool segment_abort_on_error;
extern int	segment_lock_timeout;
extern TimestampTz segment_now(void);
extern int	segment_confirm_moves;

#endif							/* SEGMENT_H */
