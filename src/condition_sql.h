/*
 * condition_sql.h
 *		A condition in plain SQL over the merchant's own tables.
 */
#ifndef SEGMENT_CONDITION_SQL_H
#define SEGMENT_CONDITION_SQL_H

#include "bound.h"

extern char *segment_condition_select(SourceSet *set, const Bound *bound, const Shop *shop);
extern char *segment_figures_select(SourceSet *set, const Bound *bound, const Shop *shop);

#endif							/* SEGMENT_CONDITION_SQL_H */
