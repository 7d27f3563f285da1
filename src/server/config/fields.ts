/**
 * What a setting can be. One description of each serves four readers: the check of the file, the type of its value, the
 * commented file that `init` writes, and the JSON Schema that editors use. So none of them can say something else.
 */
import { GIB, KIB, MIB, TIB } from '#base'

export type JsonSchema = Readonly<Record<string, unknown>>

export type Field<T> = Readonly<{
  kind: 'field'
  comment: string
  standard: T
  /** What is taken, in words: "a port from 0 to 65535". */
  expected: string
  /** The typed value; undefined for what is not taken. */
  read(given: unknown): T | undefined
  /** As it is written in the file. */
  show(value: T): unknown
  schema: JsonSchema
}>

export type Section = Readonly<{ kind: 'section'; comment: string; fields: Fields }>
export type Fields = Readonly<{ [name: string]: Field<unknown> | Section }>

export type ValueOf<T> =
  T extends Field<infer Value>
    ? Value
    : T extends Readonly<{ fields: infer Inner }>
      ? { readonly [Name in keyof Inner]: ValueOf<Inner[Name]> }
      : never

const TEXT_LENGTH_MAX = 4096

export function section<Inner extends Fields>(
  comment: string,
  fields: Inner,
): Readonly<{ kind: 'section'; comment: string; fields: Inner }> {
  return { kind: 'section', comment, fields }
}

const asIs = (value: unknown): unknown => value

type TextRule = Readonly<{ expected: string; allows: (text: string) => boolean }>

/** A text that `rule` allows. */
export function text(standard: string, comment: string, rule: TextRule): Field<string> {
  const read = (given: unknown): string | undefined =>
    typeof given === 'string' && given.length <= TEXT_LENGTH_MAX && rule.allows(given) ? given : undefined
  const { expected } = rule
  return { kind: 'field', comment, standard, expected, read, show: asIs, schema: { type: 'string' } }
}

/** As {@link text}, or null for none. */
export function optionalText(comment: string, rule: TextRule): Field<string | null> {
  const { expected, read } = text('', comment, rule)
  return {
    kind: 'field',
    comment,
    standard: null,
    expected: `${expected}, or null`,
    read: (given) => (given === null ? null : read(given)),
    show: asIs,
    schema: { type: ['string', 'null'] },
  }
}

export function texts(comment: string, rule: TextRule): Field<readonly string[]> {
  const { read } = text('', comment, rule)
  return {
    kind: 'field',
    comment,
    standard: [],
    expected: `a list, each of it ${rule.expected}`,
    read: (given) => {
      if (!Array.isArray(given)) return undefined
      const values = given.map(read)
      return values.every((value) => value !== undefined) ? values : undefined
    },
    show: asIs,
    schema: { type: 'array', items: { type: 'string' } },
  }
}

export function whole(
  standard: number,
  comment: string,
  bounds: Readonly<{ min: number; max: number }>,
): Field<number> {
  const { min, max } = bounds
  const read = (given: unknown): number | undefined =>
    typeof given === 'number' && Number.isSafeInteger(given) && given >= min && given <= max ? given : undefined
  const expected = `a whole number from ${min} to ${max}`
  const schema = { type: 'integer', minimum: min, maximum: max }
  return { kind: 'field', comment, standard, expected, read, show: asIs, schema }
}

export function choice<Name extends string>(
  standard: Name,
  comment: string,
  names: readonly [Name, ...Name[]],
): Field<Name> {
  const read = (given: unknown): Name | undefined => names.find((name) => name === given)
  const expected = `one of ${names.join(', ')}`
  return { kind: 'field', comment, standard, expected, read, show: asIs, schema: { enum: names } }
}

const UNITS: readonly (readonly [string, number])[] = [
  ['TiB', TIB],
  ['GiB', GIB],
  ['MiB', MIB],
  ['KiB', KIB],
]
const SIZE = /^(\d{1,15})(?: ?(KiB|MiB|GiB|TiB))?$/

function readSize(given: unknown): number | undefined {
  const match = SIZE.exec(typeof given === 'number' ? String(given) : typeof given === 'string' ? given : '')
  if (match === null) return undefined
  const unit = UNITS.find(([name]) => name === match[2])?.[1] ?? 1
  const bytes = Number(match[1]) * unit
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

function showSize(bytes: number): string | number {
  const unit = bytes === 0 ? undefined : UNITS.find(([, size]) => bytes % size === 0)
  return unit === undefined ? bytes : `${bytes / unit[1]}${unit[0]}`
}

/** Bytes: a number, or a number with a binary unit. */
export function size(standard: number, comment: string): Field<number> {
  return {
    kind: 'field',
    comment,
    standard,
    expected: 'a size such as 512MiB or 20GiB',
    read: readSize,
    show: showSize,
    schema: { type: ['string', 'integer'], pattern: SIZE.source },
  }
}
