/*
 * fact.h
 *		Figures kept per customer: what a statement on an attached table changes.
 */
#ifndef SEGMENT_FACT_H
#define SEGMENT_FACT_H

#include "segment.h"

extern PGDLLEXPORT Datum segment_source_changed(PG_FUNCTION_ARGS);

#endif							/* SEGMENT_FACT_H */
