/*
 * condition_sql.h
 *		A condition in plain SQL over the merchant's own tables.
 */
#ifndef SEGMENT_CONDITION_SQL_H
#define SEGMENT_CONDITION_SQL_H

#include "bound.h"

/* what a column of a query of figures by key says */
typedef enum FigurePart
{
	PART_VALUE,
	PART_LAST_ORDER,			/* days_since_last_order: from when they are counted */
	PART_FIRST_ORDER,			/* monthly_average: PART_VALUE is the total since then */
	PART_BIRTH_DATE,			/* age */
	PART_PASSING,				/* date of an event that a moving bound passes next, see FigureColumn */
	PART_DATES,					/* array: all dates of events in a field that moving clauses are about */
	PART_LEDGER_POINTS,			/* arrays: rows of the ledgers of points */
	PART_LEDGER_AT,
	PART_LEDGER_VALID_FROM,
	PART_LEDGER_EXPIRES_AT,
	PART_UNKNOWN_TEXTS			/* array: texts of a field that are not among the known ones */
} FigurePart;

/* texts of a field of events; clauses over them are judged in C, and told to the query */
typedef struct FieldTexts
{
	const char *field;
	ValueType	type;			/* VALUE_LIST: arrays as they are written; VALUE_DATE: microseconds since 1970 */
	int			parameter;		/* of the query: array of the known ones */
	List	   *known;			/* of char * */
	List	   *clauses;		/* of TextClause */
} FieldTexts;

typedef struct TextClause
{
	const BoundNode *clause;
	const char *meaning;		/* equal for clauses that are */
	int			parameter;		/* array of the known texts for which it holds */
	List	   *texts;			/* of char * */
} TextClause;

typedef struct FigureColumn
{
	FigurePart	part;
	int			slot;			/* -1: of no single figure */
	const char *field;			/* PART_DATES */
	FieldTexts *texts;			/* PART_UNKNOWN_TEXTS */
	/* PART_PASSING: a period, or an offset from today that reaches a day or lets go of it */
	const Period *period;
	DayOffset	offset;
	bool		reaches;
	bool		lets_go;
} FigureColumn;

/* rows (key, columns ...) by key, of the customers in the array $1 */
typedef struct FigureQuery
{
	char	   *sql;
	int			nparameters;
	List	   *columns;		/* of FigureColumn */
	List	   *texts;			/* of FieldTexts */
	List	   *ledger;			/* of BoundFigure: made of the ledger's rows */
} FigureQuery;

extern char *segment_condition_select(SourceSet *set, const Bound *bound, const Shop *shop);
extern char *segment_figures_select(SourceSet *set, const Bound *bound, const Shop *shop);
extern List *segment_figure_queries(SourceSet *set, const Bound *bound, const Shop *shop, const bool *slots);
extern void segment_expiry_window(const BoundFigure *figure, const Shop *shop, TimestampTz *from, TimestampTz *until);

#endif							/* SEGMENT_CONDITION_SQL_H */
