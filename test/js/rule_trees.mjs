// Rule trees made by the real @react-querybuilder/core go into the database as
// conditions, come out as trees, and must say the same: as text, as a tree, and
// as the SQL that the package itself writes for both. TAP; the server is the
// one that PGHOST, PGPORT and PGUSER name.
import { execFileSync } from 'node:child_process';
import * as core from '@react-querybuilder/core';
import { formatQuery } from '@react-querybuilder/core/formatQuery';

const database = process.env.PGDATABASE ?? 'postgres';
const literal = (text) => `'${text.replaceAll("'", "''")}'`;
const sql = (statement) =>
  execFileSync('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', database], { input: statement, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] }).trimEnd();

/** What the database makes of a tree: [canonical text, tree]. */
const through = (tree) =>
  sql(`SELECT c::text || E'\\x01' || c::jsonb FROM (SELECT ${literal(JSON.stringify(tree))}::jsonb::segment.condition AS c OFFSET 0) s`).split('\x01');
const refusal = (tree) => {
  try {
    through(tree);
    return 'accepted';
  } catch (error) {
    return error.stderr;
  }
};

let count = 0;
let failed = 0;
const ok = (passed, name, ...diagnostics) => {
  count += 1;
  if (!passed) failed += 1;
  console.log(`${passed ? 'ok' : 'not ok'} ${count} - ${name}`);
  if (!passed) diagnostics.forEach((d) => console.log(`# ${typeof d === 'string' ? d : JSON.stringify(d)}`));
};
const is = (got, expected, name) => ok(got === expected, name, `got:      ${got}`, `expected: ${expected}`);

// The package's own SQL; numbers are numbers on both sides.
const asSQL = (tree) => formatQuery(tree, { format: 'sql', parseNumbers: true }).toLowerCase();
/** In and out twice: the text as expected, the tree stable, the package's SQL the same before and after. */
const same = (name, tree, text) => {
  const [first, exported] = through(tree);
  is(first, text, `${name}: says what is meant`);
  const [second, again] = through(JSON.parse(exported));
  is(second, first, `${name}: exported and imported it is the same condition`);
  is(again, exported, `${name}: and the same tree`);
  is(asSQL(JSON.parse(exported)), asSQL(tree), `${name}: the package reads both trees alike`);
};

const rule = (field, operator, value, more = {}) => ({ field, operator, value, ...more });

sql('CREATE EXTENSION IF NOT EXISTS segment');

// built step by step, as a user clicks
let query = { combinator: 'and', not: false, rules: [] };
query = core.add(query, rule('age', 'between', [18, 25]), []);
query = core.add(query, rule('tags', 'contains', 'vip', { valueSource: 'value' }), []);
query = core.add(query, { combinator: 'or', not: false, rules: [rule('sex', '=', 'female')] }, []);
query = core.add(query, rule('email', 'endsWith', '.vn'), [2]);
query = core.prepareRuleGroup(query);
same('built', query, "age BETWEEN 18 AND 25 AND tags CONTAINS 'vip' AND (sex = 'female' OR email ENDS WITH '.vn')");
query = core.update(query, 'not', true, [2]);
query = core.move(query, [1], [0]);
query = core.remove(query, [1]);
same('changed', query, "tags CONTAINS 'vip' AND NOT (sex = 'female' OR email ENDS WITH '.vn')");

// every stock operator
const values = { between: [1, 2], notBetween: [1, 2], in: ['a', 'b'], notIn: ['a', 'b'], null: null, notNull: null };
const all = { combinator: 'or', not: false, rules: core.defaultOperators.map(({ name }) => rule('f', name, name in values ? values[name] : 'x')) };
same('all operators', all, [
  "f = 'x'", "f != 'x'", "f < 'x'", "f > 'x'", "f <= 'x'", "f >= 'x'", "f CONTAINS 'x'", "f STARTS WITH 'x'", "f ENDS WITH 'x'",
  "f NOT CONTAINS 'x'", "f NOT STARTS WITH 'x'", "f NOT ENDS WITH 'x'", 'f IS NULL', 'f IS NOT NULL', "f IN ('a', 'b')", "f NOT IN ('a', 'b')",
  'f BETWEEN 1 AND 2', 'f NOT BETWEEN 1 AND 2',
].join(' OR '));

// lists as the package joins them by default
const joined = { combinator: 'and', rules: [rule('a', 'in', core.joinWith(['x', 'y,z'])), rule('b', 'between', '18,25')] };
same('joined lists', joined, "a IN ('x', 'y,z') AND b BETWEEN 18 AND 25");

// a field on the right
same('value source', { combinator: 'and', rules: [rule('amount_returned', '>', 'amount_ordered', { valueSource: 'field' })] }, 'amount_returned > amount_ordered');

// independent combinators, and the package's own conversion of them
const independent = { rules: [rule('a', '=', 1), 'or', rule('b', '=', 2), 'and', rule('c', '=', 3)] };
const [asIC] = through(independent);
is(asIC, 'a = 1 OR b = 2 AND c = 3', 'independent combinators: AND binds tighter');
is(through(core.convertFromIC(independent))[0], asIC, 'independent combinators: converted by the package they say the same');
is(through(core.convertToIC(query))[0], through(query)[0], 'independent combinators: and the other way round');

// exports in the package's two JSON formats
is(through(JSON.parse(formatQuery(query, 'json')))[0], through(query)[0], 'json');
is(through(JSON.parse(formatQuery(query, 'json_without_ids')))[0], through(query)[0], 'json_without_ids');

// muted: the same as what the package exports
for (const [name, muted] of Object.entries({
  rule: { combinator: 'and', rules: [rule('a', '=', 1), rule('b', '=', 2, { muted: true })] },
  group: { combinator: 'or', rules: [rule('a', '=', 1), { combinator: 'and', muted: true, rules: [rule('b', '=', 2)] }] },
  independent: { rules: [rule('a', '=', 1), 'and', rule('b', '=', 2, { muted: true }), 'or', rule('c', '=', 3)] },
})) {
  is(asSQL(JSON.parse(through(muted)[1])), asSQL(muted), `muted ${name}: left out as the package does`);
}
is(through({ combinator: 'and', rules: [rule('a', '=', 1, { disabled: true })] })[0], 'a = 1', 'disabled only locks the user interface');

// subqueries: match modes over the events of a customer
const match = { combinator: 'and', rules: [{ field: 'orders_placed', operator: '=', match: { mode: 'atLeast', threshold: 2 }, value: { combinator: 'and', rules: [rule('amount', '>', 500000)] } }] };
is(through(match)[0], 'orders_placed MATCHES (amount > 500000, count >= 2)', 'match mode');
ok(core.isRuleGroup(JSON.parse(through(match)[1]).rules[0].value), 'match mode: exported as a group that the package knows');
ok(core.processMatchMode(JSON.parse(through(match)[1]).rules[0]), 'match mode: exported as a mode that the package knows');

// trees of every text are trees for the package
for (const text of ['NOT a = 1', 'TRUE', 'amount_spent(date >= -30d) > 0.5 * amount_spent(date < -30d)', "unaccented(name) HAS WORD 'dung'", 'orders_placed NOT MATCHES ()', 'd DURING last_month OR a IN (1, 2)']) {
  const tree = JSON.parse(sql(`SELECT ${literal(text)}::segment.condition::jsonb`));
  ok(core.isRuleGroupType(tree), `${text}: a rule group`);
  is(through(JSON.parse(JSON.stringify(core.regenerateIDs(core.prepareRuleGroup(tree)))))[0], text, `${text}: handled by the package, still the same`);
}

// what the package makes before anything is chosen
const { defaultPlaceholderName: none } = core;
ok(/no field is chosen yet[^]*rules\[0\]\.field/.test(refusal({ combinator: 'and', rules: [rule(none, none, '')] })), 'nothing chosen yet: refused, naming the place');
ok(/no operator is chosen yet[^]*rules\[0\]\.operator/.test(refusal({ combinator: 'and', rules: [rule('a', none, '')] })), 'no operator chosen yet: refused');
ok(/empty text[^]*rules\[0\]\.value/.test(refusal({ combinator: 'and', rules: [rule('a', '=', '')] })), 'a new rule without value: refused');
ok(/no rules/.test(refusal({ combinator: 'and', rules: [] })), 'a new query: refused, not everybody');

// what a shop can be asked, as the package's fields
sql(`CREATE SCHEMA shop;
  CREATE TABLE shop.customers (id bigint PRIMARY KEY, full_name text, gender text, born date, vip boolean);
  CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
  SET client_min_messages = error;
  SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name', sex => 'gender', birth_date => 'born', custom => '{"is_vip": "vip"}');
  SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
  INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('silver', 'Bạc', 0, 999), ('gold', 'Vàng', 1000, NULL);
  INSERT INTO segment.ladders (code, name, figure) VALUES ('visits', 'Lượt mua', 'number_of_orders');
  INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES ('visits', 'regular', 'Quen', 5, NULL)`);
for (const language of ['en', 'vi']) {
  const given = JSON.parse(sql(`SELECT segment.query_builder_fields('${language}')`));
  const { optionList: fields, optionsMap } = core.prepareOptionList({ optionList: given });
  const flat = core.toFlatOptionArray(fields);
  const known = flat.filter(({ name }) => name !== none);
  is(known.length, given.length, `fields (${language}): the package takes all`);
  ok(known.every((f) => f.name && f.value && f.label), `fields (${language}): each has a name and a label`);
  ok(known.every((f) => core.isFlexibleOptionArray(f.operators) && f.operators.every((o) => o.label)), `fields (${language}): operators are options with labels`);
  ok(known.filter((f) => f.subproperties).every((f) => core.isFlexibleOptionArray(f.subproperties)), `fields (${language}): so are the fields of events`);
  is(core.getMatchModesUtil(optionsMap.orders_placed).map(({ name }) => name).join(), 'some,none,atLeast,atMost,exactly', `fields (${language}): match modes of an event`);
  is(core.getMatchModesUtil(optionsMap.age).length, 0, `fields (${language}): and none of a figure`);
  is(core.getValueSourcesUtil(optionsMap.age, '<').map(({ name }) => name).join(), 'value,field', `fields (${language}): a number is compared with values and fields`);
  ok(core.filterFieldsByComparator(optionsMap.age, fields, '<').every((f) => f.type === 'number'), `fields (${language}): with fields that are numbers`);
  is(core.getParseNumberMethod({ inputType: optionsMap.amount_spent.inputType, parseNumbers: 'strict-limited' }), 'strict', `fields (${language}): what is typed for a number becomes one`);
  is(optionsMap.tier.values.map(({ name }) => name).join(), 'silver,gold', `fields (${language}): tiers to choose from`);
  const visits = optionsMap["tier(ladder = 'visits')"];
  is(visits.values.map(({ name }) => name).join(), 'regular', `fields (${language}): tiers of another ladder`);
  // a query built of them is a condition that the shop answers
  const built = core.prepareRuleGroup({ combinator: 'and', rules: [
    rule(optionsMap.age.name, 'between', core.joinWith(['18', '25']), { valueSource: 'value' }),
    rule(optionsMap.sex.name, 'in', core.joinWith(optionsMap.sex.values.map(({ name }) => name))),
    rule(optionsMap.tier.name, '>=', optionsMap.tier.values[1].name),
    rule(visits.name, '=', visits.values[0].name),
    rule(optionsMap['anniversary(birth_date)'].name, 'during', 'next_month'),
    rule(optionsMap['custom.is_vip'].name, '=', true),
    { field: optionsMap.orders_placed.name, operator: optionsMap.orders_placed.operators[0].name, match: { mode: 'atLeast', threshold: 2 },
      value: { combinator: 'and', rules: [rule(optionsMap.orders_placed.subproperties[0].name, 'during', 'last_month')] } },
  ] });
  is(through(built)[0], "age BETWEEN 18 AND 25 AND sex IN ('female', 'male') AND tier >= 'gold' AND tier(ladder = 'visits') = 'regular' AND anniversary(birth_date) DURING next_month AND custom.is_vip = TRUE AND orders_placed MATCHES (date DURING last_month, count >= 2)", `fields (${language}): a query built of them`);
  ok(JSON.parse(through(built)[1]).rules.every(({ field }) => field in optionsMap), `fields (${language}): and comes back as one`);
  is(sql(`SELECT segment.preview_count(${literal(JSON.stringify(built))}::jsonb::segment.condition)`), '0', `fields (${language}): is answered`);
  ok(formatQuery(built, { format: 'natural_language', fields }).length > 0, `fields (${language}): the package can say it in words`);
}

console.log(`1..${count}`);
process.exitCode = failed ? 1 : 0;
