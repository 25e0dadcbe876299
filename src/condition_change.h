/*
 * condition_change.h
 *		When a condition may change by time alone: pure.
 */
#ifndef SEGMENT_CONDITION_CHANGE_H
#define SEGMENT_CONDITION_CHANGE_H

#include "condition_eval.h"

extern bool segment_clause_moves(const BoundNode *clause);
extern DateADT segment_date_clause_change(const BoundNode *clause, DateADT day, const Shop *shop);
extern TimestampTz segment_condition_change(const BoundNode *root, const FigureValue *figures, const Shop *shop);

#endif							/* SEGMENT_CONDITION_CHANGE_H */
