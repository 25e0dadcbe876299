/*
 * condition_change.h
 *		When a condition may change by time alone: pure.
 *
 * Whatever is told here is sound: before that day or instant the verdict does
 * not change unless a row does.  It may be earlier than need be; whoever wakes
 * then finds nothing changed and asks again.
 *
 * Figures whose values move by themselves (sums over a moving window, points
 * that expire, age) carry that in FigureValue.next_change, filled by whoever
 * reads them.  days_since_last_order needs none: it is counted from its value.
 * Of "groups" it must be the earliest change of the groups that are named, or
 * DT_NOEND where those are watched anyway.
 */
#ifndef SEGMENT_CONDITION_CHANGE_H
#define SEGMENT_CONDITION_CHANGE_H

#include "condition_eval.h"

extern bool segment_clause_moves(const BoundNode *clause);
extern DateADT segment_date_clause_change(const BoundNode *clause, DateADT day, const Shop *shop);
extern TimestampTz segment_condition_change(const BoundNode *root, const FigureValue *figures, const Shop *shop);

#endif							/* SEGMENT_CONDITION_CHANGE_H */
