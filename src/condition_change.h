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
 * Of "groups" it is DT_NOEND, and those who judge groups watch them all; whoever
 * asks about one condition says when the groups that it names may change.
 */
#ifndef SEGMENT_CONDITION_CHANGE_H
#define SEGMENT_CONDITION_CHANGE_H

#include "condition_eval.h"

extern bool segment_clause_moves(const BoundNode *clause);
extern DateADT segment_date_clause_change(const BoundNode *clause, DateADT day, const Shop *shop);
extern TimestampTz segment_condition_change(const BoundNode *root, const FigureValue *figures, const Shop *shop);
extern void segment_groups_change(const Bound *bound, const FigureValue *figures, const Shop *shop, TimestampTz *changes);
extern TimestampTz segment_condition_change_with(const Bound *bound, const TimestampTz *groups, const BoundNode *root,
												 const FigureValue *figures, const Shop *shop);

#endif							/* SEGMENT_CONDITION_CHANGE_H */
