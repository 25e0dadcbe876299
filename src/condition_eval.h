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
	Numeric		number;			/* VALUE_NUMBER */
	char	   *text;			/* VALUE_TEXT, VALUE_TIER */
	bool		boolean;
	DateADT		date;			/* VALUE_DATE that is no instant */
	TimestampTz instant;		/* VALUE_DATE that is one */
	int			nelements;		/* VALUE_LIST */
	char	  **elements;
} FigureValue;

extern bool segment_condition_holds(const Bound *bound, const FigureValue *figures, const Shop *shop);

#endif							/* SEGMENT_CONDITION_EVAL_H */
