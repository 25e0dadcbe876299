/*
 * figure.h
 *		Figures of customers, read from the attached tables.
 */
#ifndef SEGMENT_FIGURE_H
#define SEGMENT_FIGURE_H

#include "condition_eval.h"
#include "executor/spi.h"
#include "utils/snapshot.h"

/* what one customer's conditions are judged over */
typedef struct CustomerFigures
{
	Datum		customer;
	FigureValue *figures;		/* by slot; those that were not asked for are null */
} CustomerFigures;

/* reads the same figures again and again; its plans are kept while the shop's day is the same */
typedef struct FigureReader
{
	SourceSet  *set;
	const Bound *bound;
	const bool *slots;			/* those that are wanted; NULL: all */
	Oid			reads_as;		/* owner of the tables */
	MemoryContext context;		/* of what is below */
	bool		ready;
	DateADT		day;			/* of the plans */
	const char *zone_name;
	List	   *queries;		/* of FigureQuery */
	int			nplans;
	SPIPlanPtr *plans;			/* for a few customers: made once */
	SPIPlanPtr *plans_of_many;
} FigureReader;

extern void segment_shop_at(Shop *shop, TimestampTz at);
extern Oid	segment_only_owner(SourceSet *set);
extern void segment_read_figure(SourceSet *set, const BoundFigure *figure, Datum value, bool isnull, Oid type,
								FigureValue *result);
extern bool segment_figure_from_facts(const BoundFigure *figure, const Facts *facts, const Shop *shop,
									  FigureValue *result);

extern void segment_figures_open(FigureReader *reader, SourceSet *set, const Bound *bound, const bool *slots);
extern CustomerFigures *segment_figures_read(FigureReader *reader, const Shop *shop, const Datum *customers, int n,
											 Snapshot snapshot, int *found);
extern void segment_figures_close(FigureReader *reader);

#endif							/* SEGMENT_FIGURE_H */
