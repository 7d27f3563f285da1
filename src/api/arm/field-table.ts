/**
 * What becomes of each field of a type's body, as one table that the check and the document (docs/api) are both made from.
 *
 *   honoured    it does what Azure says
 *   stored      kept and shown, without effect here: placement, classes of speed
 *   read-only   the server's own; what a client echoes passes
 *   refused     ignoring it would weaken what was asked for, so it is refused by name; so is a field that nobody knows
 *
 * null always passes: the clients write it for what they do not mean.
 */
import { ArmError } from '#contract'

export type FieldUse = 'honoured' | 'stored' | 'read-only' | 'refused'

export type Field = Readonly<{
  /** Names joined by dots; what stands below belongs to it. */
  path: string
  use: FieldUse
  note?: string
  /** The values that pass, without case; for `refused`, those that change nothing. */
  only?: readonly (string | number | boolean)[]
}>

export type FieldTable = readonly Field[]

type Value = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Value {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value)
    ? value.length === 0
    : isObject(value) && Object.values(value).every((one) => one === null)
}

function fits(field: Field, value: unknown): boolean {
  const same = (one: unknown): boolean => String(one).toLowerCase() === String(value).toLowerCase()
  return field.only?.some((one) => typeof one === typeof value && same(one)) ?? field.use !== 'refused'
}

function refusal(path: string, field: Field | undefined): ArmError {
  const why = field?.note === undefined ? '' : ` ${field.note}`
  const allowed = field?.only === undefined ? '' : ` It may only be ${field.only.join(', ')}.`
  const message =
    field === undefined
      ? `Holdfast does not know the property '${path}'.`
      : `Holdfast does not take this value of '${path}'.${allowed}${why}`
  return new ArmError('UnsupportedField', message, { target: path })
}

/** @throws ArmError `UnsupportedField`, naming the field */
export function checkFields(table: FieldTable, body: unknown, prefix = ''): void {
  if (!isObject(body)) return
  for (const [name, value] of Object.entries(body)) {
    if (value === null || value === undefined) continue
    const path = `${prefix}${name}`
    const field = table.find((one) => one.path === path)
    if (field !== undefined) {
      if (!fits(field, value) && !isEmpty(value)) throw refusal(path, field)
      continue
    }
    const hasBelow = table.some((one) => one.path.startsWith(`${path}.`))
    if (hasBelow && isObject(value)) checkFields(table, value, `${path}.`)
    else if (!isEmpty(value)) throw refusal(path, undefined)
  }
}

/** The value at a path; null counts as absent. */
export function fieldAt(body: unknown, path: string): unknown {
  let value = body
  for (const name of path.split('.')) value = isObject(value) ? value[name] : undefined
  return value === null ? undefined : value
}

/** Fields below `prefix` that are kept as they are: by their names without it. Only one level deep. */
export function storedFields(table: FieldTable, body: unknown, prefix: string): Record<string, unknown> {
  const names = table
    .filter(({ path, use }) => use === 'stored' && path.startsWith(prefix) && !path.slice(prefix.length).includes('.'))
    .map(({ path }) => path.slice(prefix.length))
  const pairs = names.map((name) => [name, fieldAt(body, `${prefix}${name}`)] as const)
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined))
}

/** The table as Markdown. */
export function fieldDocument(table: FieldTable): string {
  const rows = table.map(({ path, use, only, note }) => {
    const values = only === undefined ? '' : `only ${only.map((one) => `\`${one}\``).join(', ')}`
    return `| \`${path}\` | ${use} | ${[values, note].filter((text) => text !== undefined && text !== '').join('; ')} |`
  })
  return ['| field | use | |', '|---|---|---|', ...rows].join('\n')
}
