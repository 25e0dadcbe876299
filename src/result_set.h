/*
 * result_set.h
 *		Rows that a function returns.
 */
#ifndef SEGMENT_RESULT_SET_H
#define SEGMENT_RESULT_SET_H

#include "segment.h"

#include "utils/tuplestore.h"

extern Tuplestorestate *segment_begin_set(FunctionCallInfo fcinfo, TupleDesc *desc);

#endif							/* SEGMENT_RESULT_SET_H */
