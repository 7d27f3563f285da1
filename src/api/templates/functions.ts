/**
 * The functions of templates that need nothing but their arguments. Source: Azure "ARM template functions". What a template
 * calls and is not here is refused by name.
 *
 * `uniqueString` gives a text of Azure's form (13 characters, base 32) that depends on its arguments alone, but not Azure's own
 * text, whose hash is not published. `guid` is Azure's: version 5 in its namespace.
 */
import { createHash } from 'node:crypto'
import { templateError } from './expression.ts'
import {
  equalValues,
  isTemplateArray,
  isTemplateObject,
  memberOf,
  type TemplateObject,
  type TemplateValue,
  textOf,
} from './template-value.ts'

export type TemplateFunction = (...given: readonly TemplateValue[]) => TemplateValue

const ITEMS_MAX = 10_000
/** The namespace of Azure's `guid`. */
const GUID_NAMESPACE = '11fb06fb-712d-4ddd-98c7-e71bbd588830'
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'

function text(value: TemplateValue | undefined): string {
  if (typeof value === 'string') return value
  throw templateError(`Text is expected instead of ${JSON.stringify(value ?? null).slice(0, 80)}.`)
}

function number(value: TemplateValue | undefined): number {
  if (typeof value === 'number') return value
  throw templateError(`A number is expected instead of ${JSON.stringify(value ?? null).slice(0, 80)}.`)
}

function truth(value: TemplateValue | undefined): boolean {
  if (typeof value === 'boolean') return value
  throw templateError(`True or false is expected instead of ${JSON.stringify(value ?? null).slice(0, 80)}.`)
}

function array(value: TemplateValue | undefined): readonly TemplateValue[] {
  if (isTemplateArray(value)) return value
  throw templateError(`An array is expected instead of ${JSON.stringify(value ?? null).slice(0, 80)}.`)
}

function sequence(value: TemplateValue | undefined): readonly TemplateValue[] | string {
  return typeof value === 'string' ? value : array(value)
}

function bounded<T extends readonly TemplateValue[]>(items: T): T {
  if (items.length > ITEMS_MAX) throw templateError(`An array would have more than ${ITEMS_MAX} items.`)
  return items
}

export function guidOf(parts: readonly string[]): string {
  const name = Buffer.concat([
    Buffer.from(GUID_NAMESPACE.replaceAll('-', ''), 'hex'),
    Buffer.from(parts.join('-'), 'utf8'),
  ])
  const hash = createHash('sha1').update(name).digest().subarray(0, 16)
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

export function uniqueStringOf(parts: readonly string[]): string {
  const hash = createHash('sha256').update(parts.join('|')).digest()
  return Array.from(hash.subarray(0, 13), (byte) => BASE32[byte % 32]).join('')
}

function numbersOf(given: readonly TemplateValue[]): number[] {
  const [first] = given
  return (isTemplateArray(first) ? first : given).map(number)
}

function merge(left: TemplateValue, right: TemplateValue): TemplateValue {
  if (isTemplateArray(left) && isTemplateArray(right))
    return bounded([...left, ...right.filter((item) => !left.some((other) => equalValues(item, other)))])
  if (!isTemplateObject(left) || !isTemplateObject(right)) return right
  const merged: Record<string, TemplateValue> = { ...left }
  for (const [name, value] of Object.entries(right)) {
    const before = merged[name]
    merged[name] = isTemplateObject(before) && isTemplateObject(value) ? merge(before, value) : value
  }
  return merged
}

function common(left: TemplateValue, right: TemplateValue): TemplateValue {
  if (isTemplateArray(left)) return left.filter((item) => array(right).some((other) => equalValues(item, other)))
  if (!isTemplateObject(left) || !isTemplateObject(right))
    throw templateError('intersection() takes arrays or objects.')
  return Object.fromEntries(
    Object.entries(left).filter(([name, value]) => name in right && equalValues(value, right[name] ?? null)),
  )
}

/** `{0}`, `{0:N2}` is shown plainly; doubled braces stand for one. */
function format(pattern: string, values: readonly TemplateValue[]): string {
  return pattern.replaceAll(/\{\{|\}\}|\{(\d+)(?:[,:][^}]*)?\}/g, (whole, index: string | undefined) => {
    if (index === undefined) return whole.charAt(0)
    const value = values[Number(index)]
    if (value === undefined) throw templateError(`format() has no argument ${index}.`)
    return textOf(value)
  })
}

function parseJson(given: string): TemplateValue {
  try {
    return JSON.parse(given) as TemplateValue
  } catch (cause) {
    throw templateError(`json() was given what is no JSON: ${String(cause)}`)
  }
}

function concat(given: readonly TemplateValue[]): TemplateValue {
  if (given.some(isTemplateArray)) return bounded(given.flatMap((part) => [...array(part)]))
  return given.map(textOf).join('')
}

function contains(container: TemplateValue | undefined, item: TemplateValue | undefined): boolean {
  if (typeof container === 'string') return container.includes(textOf(item ?? null))
  if (isTemplateArray(container)) return container.some((other) => equalValues(other, item ?? null))
  return isTemplateObject(container) && memberOf(container, text(item)) !== undefined
}

const TEXT_FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  base64: (a) => Buffer.from(text(a)).toString('base64'),
  base64tostring: (a) => Buffer.from(text(a), 'base64').toString('utf8'),
  base64tojson: (a) => parseJson(Buffer.from(text(a), 'base64').toString('utf8')),
  endswith: (a, b) => text(a).toLowerCase().endsWith(text(b).toLowerCase()),
  format: (pattern, ...values) => format(text(pattern), values),
  guid: (...parts) => guidOf(parts.map(text)),
  padleft: (a, length, pad) => textOf(a ?? null).padStart(number(length), pad === undefined ? ' ' : text(pad)),
  replace: (a, from, to) => text(a).replaceAll(text(from), text(to)),
  split: (a, by) => {
    const marks = isTemplateArray(by) ? by.map(text) : [text(by)]
    return bounded(marks.reduce((parts, mark) => parts.flatMap((part) => part.split(mark)), [text(a)]))
  },
  startswith: (a, b) => text(a).toLowerCase().startsWith(text(b).toLowerCase()),
  string: (a) => textOf(a ?? null),
  substring: (a, from, length) =>
    text(a).slice(number(from), length === undefined ? undefined : number(from) + number(length)),
  tolower: (a) => text(a).toLowerCase(),
  toupper: (a) => text(a).toUpperCase(),
  trim: (a) => text(a).trim(),
  uniquestring: (...parts) => uniqueStringOf(parts.map(text)),
  uri: (base, rest) => new URL(text(rest), text(base)).href,
  uricomponent: (a) => encodeURIComponent(text(a)),
  uricomponenttostring: (a) => decodeURIComponent(text(a)),
}

const NUMBER_FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  add: (a, b) => number(a) + number(b),
  div: (a, b) => {
    if (number(b) === 0) throw templateError('div() by zero.')
    return Math.trunc(number(a) / number(b))
  },
  int: (a) => {
    const value = typeof a === 'number' ? a : Number(text(a))
    if (!Number.isSafeInteger(value)) throw templateError(`int() was given '${textOf(a ?? null).slice(0, 40)}'.`)
    return value
  },
  max: (...given) => Math.max(...numbersOf(given)),
  min: (...given) => Math.min(...numbersOf(given)),
  mod: (a, b) => number(a) % number(b),
  mul: (a, b) => number(a) * number(b),
  sub: (a, b) => number(a) - number(b),
}

const LOGIC_FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  and: (...given) => given.every(truth),
  bool: (a) => (typeof a === 'string' ? a.toLowerCase() === 'true' : typeof a === 'number' ? a !== 0 : truth(a)),
  equals: (a, b) => equalValues(a ?? null, b ?? null),
  false: () => false,
  greater: (a, b) => compare(a, b) > 0,
  greaterorequals: (a, b) => compare(a, b) >= 0,
  less: (a, b) => compare(a, b) < 0,
  lessorequals: (a, b) => compare(a, b) <= 0,
  not: (a) => !truth(a),
  null: () => null,
  or: (...given) => given.some(truth),
  true: () => true,
}

function compare(a: TemplateValue | undefined, b: TemplateValue | undefined): number {
  if (typeof a === 'string') return a < text(b) ? -1 : a > text(b) ? 1 : 0
  return number(a) - number(b)
}

const COLLECTION_FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  array: (a) => (isTemplateArray(a) ? a : [a ?? null]),
  coalesce: (...given) => given.find((value) => value !== null) ?? null,
  concat: (...given) => concat(given),
  contains: (a, b) => contains(a, b),
  createarray: (...given) => given,
  createobject: (...given) => {
    const pairs: [string, TemplateValue][] = []
    for (let at = 0; at < given.length; at += 2) pairs.push([text(given[at]), given[at + 1] ?? null])
    return Object.fromEntries(pairs)
  },
  empty: (a) => a === null || (typeof a === 'string' ? a === '' : Object.keys(a ?? {}).length === 0),
  first: (a) => sequence(a)[0] ?? null,
  indexof: (a, b) =>
    typeof a === 'string'
      ? a.toLowerCase().indexOf(text(b).toLowerCase())
      : array(a).findIndex((item) => equalValues(item, b ?? null)),
  intersection: (first, ...others) => others.reduce<TemplateValue>(common, first ?? null),
  items: (a) => {
    if (!isTemplateObject(a)) throw templateError('items() takes an object.')
    return Object.entries(a)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([key, value]) => ({ key, value }))
  },
  join: (a, by) => array(a).map(textOf).join(text(by)),
  json: (a) => parseJson(text(a)),
  last: (a) => sequence(a).at(-1) ?? null,
  lastindexof: (a, b) =>
    typeof a === 'string'
      ? a.toLowerCase().lastIndexOf(text(b).toLowerCase())
      : array(a).findLastIndex((item) => equalValues(item, b ?? null)),
  length: (a) => (isTemplateObject(a) ? Object.keys(a).length : sequence(a).length),
  objectkeys: (a) => Object.keys((a ?? {}) as TemplateObject).sort(),
  range: (from, count) =>
    bounded(Array.from({ length: Math.min(number(count), ITEMS_MAX + 1) }, (_, at) => number(from) + at)),
  shallowmerge: (a) => Object.assign({}, ...array(a)) as TemplateObject,
  skip: (a, count) => sequence(a).slice(Math.max(0, number(count))),
  take: (a, count) => sequence(a).slice(0, Math.max(0, number(count))),
  tryget: (a, ...path) => path.reduce<TemplateValue>((value, name) => memberOf(value, text(name)) ?? null, a ?? null),
  union: (first, ...others) => others.reduce<TemplateValue>(merge, first ?? null),
}

export const PLAIN_FUNCTIONS: ReadonlyMap<string, TemplateFunction> = new Map(
  Object.entries({ ...TEXT_FUNCTIONS, ...NUMBER_FUNCTIONS, ...LOGIC_FUNCTIONS, ...COLLECTION_FUNCTIONS }),
)
