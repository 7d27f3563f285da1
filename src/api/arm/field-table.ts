/**
 * What is done with each field of a request's body, as one table: the check goes by it and so does the document
 * (docs/api). null and read-only fields always pass, for clients send back what they were shown.
 */
import { ArmError } from '#contract'

export type FieldUse = 'honoured' | 'stored' | 'read-only' | 'refused'

export type FieldRule = Readonly<{
  /** From the body's root: `properties.encryption.type`. */
  path: string
  use: FieldUse
  /** What it may be, or why it is refused. */
  note: string
  /** For a refused field: the values that say nothing else than what holds anyway. */
  harmless?: readonly unknown[]
}>

function valueAt(body: unknown, path: string): unknown {
  let value = body
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

/** @throws ArmError `UnsupportedField` for the first that is refused */
export function checkFields(body: unknown, rules: readonly FieldRule[]): void {
  for (const { path, use, note, harmless = [] } of rules) {
    if (use !== 'refused') continue
    const value = valueAt(body, path)
    if (value === undefined || value === null || harmless.includes(value)) continue
    throw new ArmError('UnsupportedField', `The field '${path}' is not supported: ${note}`, { target: path })
  }
}

/** The values of the fields that are stored without effect, by their name inside `properties`. */
export function storedProperties(body: unknown, rules: readonly FieldRule[]): Record<string, unknown> {
  const stored: Record<string, unknown> = {}
  for (const { path, use } of rules) {
    const [head, name, deeper] = path.split('.')
    if (use !== 'stored' || head !== 'properties' || name === undefined || deeper !== undefined) continue
    const value = valueAt(body, path)
    if (value !== undefined && value !== null) stored[name] = value
  }
  return stored
}

/** The table of the document. */
export function fieldsMarkdown(rules: readonly FieldRule[]): string {
  const rows = rules.map(({ path, use, note }) => `| \`${path}\` | ${use} | ${note} |`)
  return ['| Field | Use | Notes |', '|---|---|---|', ...rows].join('\n')
}
