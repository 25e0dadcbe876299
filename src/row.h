/*
 * row.h
 *		What one row of an attached table means.
 */
#ifndef SEGMENT_ROW_H
#define SEGMENT_ROW_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "source.h"

/* what a row counts for; customers: counts says whether it is a customer */
typedef struct Row
{
	bool		counts;
	char	   *left_out;		/* it should count but cannot, and why; else NULL */
	bool		raised;			/* because an expression raised */
	bool		has_key;
	Datum		key;			/* of the source's own key type */
	bool		has_customer;
	Datum		customer;
	bool		has_parent_key;
	Datum		parent_key;
	Numeric		amount;			/* NULL for lines */
	TimestampTz at;				/* 0 for lines */
	Numeric		items;			/* NULL where none are counted */
} Row;

/* reads rows at hand, for sources whose rows mean something by themselves */
typedef struct RowReader
{
	SourceSet  *set;
	Source	   *source;
	EState	   *estate;
	ExprContext *econtext;
	ExprState  *states[FIELD_COUNT];
	MemoryContext context;		/* where rows go */
} RowReader;

/* a growing list of rows */
typedef struct Rows
{
	int			n;
	int			size;
	Row		   *rows;
} Rows;

extern Row *segment_rows_add(Rows *rows);
extern void segment_row_reader_open(RowReader *reader, SourceSet *set, Source *source);
extern void segment_row_reader_close(RowReader *reader);
extern void segment_read_row(RowReader *reader, TupleTableSlot *slot, Row *row);
extern bool segment_same_row(SourceSet *set, const Row *a, const Row *b);
extern char *segment_clip(const char *text);
extern Numeric segment_items(const Row *row);
extern const char *segment_reason_sql(Source *source);
extern char *segment_value_text(Oid type, Datum value);
extern char *segment_key_text(Source *source, const Row *row);
extern void segment_scan_direct(SourceSet *set, Source *source, Datum customers, bool read_only,
								void (*take) (const Row *row, void *argument), void *argument);
extern void segment_read_linked(SourceSet *set, Source *source, Datum *keys, int nkeys, Rows *rows);
extern bool segment_read_old_customers(SourceSet *set, Source *source, Rows *rows);
extern char *segment_parents_sql(SourceSet *set, Source *parent, const char *condition);
extern ArrayType *segment_array(Oid type, Datum *values, const bool *nulls, int n);

#endif							/* SEGMENT_ROW_H */
