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
} FigureValue;

extern FigureValue segment_shown_figure(const Bound *bound, const FigureValue *figures, int slot, const Shop *shop);
extern void segment_condition_prepare(BoundNode *node, const Shop *shop);
extern int	segment_find_values(const BoundNode *node, const BoundFigure *figure, const FigureValue *figures,
								const Shop *shop, bool *found);
extern bool segment_condition_holds(const Bound *bound, const FigureValue *figures, const Shop *shop);

#endif							/* SEGMENT_CONDITION_EVAL_H */
