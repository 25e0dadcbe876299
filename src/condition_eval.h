/*
 * condition_eval.h
 *		Whether a condition holds: pure.
 */
#ifndef SEGMENT_CONDITION_EVAL_H
#define SEGMENT_CONDITION_EVAL_H

#include "bound.h"
#include "utils/numeric.h"

/* one figure of a customer */
typedef struct FigureValue
{
	bool		isnull;
	bool		derived;		/* given_name that has a column of its own */
	Numeric		number;			/* VALUE_NUMBER */
	char	   *text;			/* VALUE_TEXT, VALUE_TIER */
	bool		boolean;
	DateADT		date;			/* VALUE_DATE that is no instant */
	TimestampTz instant;		/* VALUE_DATE that is one */
	int			nelements;		/* VALUE_LIST */
	char	  **elements;
	TimestampTz next_change;	/* when it may next change by time alone, DT_NOEND: never */
} FigureValue;

extern FigureValue segment_shown_figure(const Bound *bound, const FigureValue *figures, int slot, const Shop *shop);
extern void segment_condition_prepare(BoundNode *node, const Shop *shop);
extern void segment_bound_prepare(Bound *bound, const Shop *shop);
extern int	segment_find_values(const BoundNode *node, const BoundFigure *figure, const FigureValue *figures,
								const Shop *shop, bool *found);
extern void segment_judge_groups(const Bound *bound, FigureValue *figures, const Shop *shop,
								 const bool *wanted, bool *verdicts);
extern bool segment_field_holds(const BoundNode *clause, const FigureValue *value, const Shop *shop);
extern bool segment_condition_holds(const BoundNode *root, const FigureValue *figures, const Shop *shop);

#endif							/* SEGMENT_CONDITION_EVAL_H */
