/*
 * preview.h
 *		What functions that return sets share.
 */
#ifndef SEGMENT_PREVIEW_H
#define SEGMENT_PREVIEW_H

#include "segment.h"

#include "utils/tuplestore.h"

extern Tuplestorestate *segment_begin_set(FunctionCallInfo fcinfo, TupleDesc *desc);

#endif							/* SEGMENT_PREVIEW_H */
