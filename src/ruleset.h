/*
 * ruleset.h
 *		Ladders and groups compiled, the same for every session.
 */
#ifndef SEGMENT_RULESET_H
#define SEGMENT_RULESET_H

#include "classify.h"
#include "figure.h"
#include "lib/stringinfo.h"
#include "utils/snapshot.h"

/* what of a customer rows of attached tables touch, as bits */
#define TOUCHES_PROFILE		(1 << 0)
#define TOUCHES_PURCHASES	(1 << 1)
#define TOUCHES_POINTS		(1 << 2)
#define TOUCHES_OFFERS		(1 << 3)
#define TOUCHES_TAGS		(1 << 4)
#define TOUCHES_ALL			((1 << 5) - 1)

/* the groups that can change when such rows change */
typedef struct Concerned
{
	int			n;
	bool	   *wanted;			/* by group: these are judged */
	bool	   *slots;			/* figures of theirs that segment.facts does not keep */
	bool		reads;			/* there are such figures */
	FigureReader reader;
} Concerned;

/* rules in force */
typedef struct Rules
{
	Ruleset		ruleset;
	MemoryContext context;
	TimestampTz ticked;			/* the last tick, as of when they were asked for */
	SourceSet  *set;			/* its groups are bound to */
	uint64		generation;
	Shop		shop;			/* without an instant */
	int		   *touched_by;		/* by group: rows of which kinds may change it */
	Concerned  *concerned[TOUCHES_ALL + 1];
	Concerned  *by;				/* of segment_concerned_by(), for the id asked last */
	int			by_id;
	FigureReader replay;		/* of all figures, on other days */
} Rules;

extern Rules *segment_rules(SourceSet *set, Snapshot snapshot);
extern TimestampTz segment_judging_instant(Snapshot snapshot);
extern TimestampTz segment_rules_instant(const Rules *rules);
extern void segment_ticked(TimestampTz at);
extern int	segment_role_touches(SourceRole role);
extern Concerned *segment_concerned(Rules *rules, int touched);
extern Concerned *segment_concerned_by(Rules *rules, int id);
extern FigureReader *segment_replay_reader(Rules *rules);
extern Shop segment_rules_shop(const Rules *rules, TimestampTz at);
extern void segment_ruleset_bump(void);
extern void segment_require_ladders(void);
extern const Ladder *segment_ruleset_fault(const Ruleset *ruleset, StringInfo what,
										   StringInfo detail, StringInfo hint);

#endif							/* SEGMENT_RULESET_H */
