/**
 * The `$filter` subset that the clients send: `field op 'value'` joined by `and`, one level of `or` inside parentheses not
 * needed, plus `startswith(f, 'x')`, `substringof('x', f)`, `atScope()` and `assignedTo('id')`.
 * Source: OData 4.01 URL conventions, section 5.1.1; az-clients trace. What cannot be read is refused, never ignored: a
 * filter that is passed over would show (or delete) more than was asked for.
 */
import { ArmError } from './arm-error.ts'

export type FilterTerm =
  | Readonly<{ kind: 'compare'; field: string; operator: 'eq' | 'ne' | 'gt' | 'ge' | 'lt' | 'le'; value: string }>
  | Readonly<{ kind: 'call'; name: string; arguments: readonly string[] }>

const TOKEN = /\s*(?:('(?:[^']|'')*')|([A-Za-z_][\w./-]*)\s*\(([^()]*)\)|([A-Za-z_][\w./]*)|(-?\d[\w.:+-]*))/y
const OPERATORS = new Set(['eq', 'ne', 'gt', 'ge', 'lt', 'le'])
const LENGTH_MAX = 4000

type Token = Readonly<{ text?: string; call?: string; args?: string; word?: string }>

function invalid(filter: string): ArmError {
  return new ArmError('InvalidFilterInQueryString', `The $filter '${filter.slice(0, 200)}' cannot be read.`, {
    target: '$filter',
  })
}

function tokens(filter: string): Token[] {
  const found: Token[] = []
  TOKEN.lastIndex = 0
  const end = filter.trimEnd().length
  while (TOKEN.lastIndex < end) {
    const match = TOKEN.exec(filter)
    if (match === null) throw invalid(filter)
    const [, quoted, call, args, word, number] = match
    if (quoted !== undefined) found.push({ text: quoted.slice(1, -1).replaceAll("''", "'") })
    else if (call !== undefined) found.push({ call, args: args ?? '' })
    else if (word !== undefined) found.push({ word })
    else found.push({ text: number ?? '' })
  }
  return found
}

function callArguments(args: string): string[] {
  const parts = args.trim() === '' ? [] : args.split(',')
  return parts.map((part) =>
    part
      .trim()
      .replace(/^'(.*)'$/, '$1')
      .replaceAll("''", "'"),
  )
}

/** The terms that must all hold. An absent or empty filter has none. @throws ArmError `InvalidFilterInQueryString` */
export function parseFilter(filter: string | undefined): FilterTerm[] {
  if (filter === undefined || filter.trim() === '') return []
  if (filter.length > LENGTH_MAX) throw invalid(filter)
  const list = tokens(filter)
  const terms: FilterTerm[] = []
  for (let at = 0; at < list.length;) {
    if (at > 0 && list[at++]?.word?.toLowerCase() !== 'and') throw invalid(filter)
    const [first, operator, value] = list.slice(at, at + 3)
    if (first?.call !== undefined) {
      terms.push({ kind: 'call', name: first.call.toLowerCase(), arguments: callArguments(first.args ?? '') })
      at += 1
      continue
    }
    const known = operator?.word?.toLowerCase()
    const text = value?.text ?? value?.word
    if (first?.word === undefined || known === undefined || !OPERATORS.has(known) || text === undefined)
      throw invalid(filter)
    terms.push({ kind: 'compare', field: first.word, operator: known as 'eq', value: text })
    at += 3
  }
  return terms
}

/** The value that `field` must equal, if the filter says so; fields are compared without case. */
export function equalTo(terms: readonly FilterTerm[], field: string): string | undefined {
  for (const term of terms)
    if (term.kind === 'compare' && term.operator === 'eq' && term.field.toLowerCase() === field.toLowerCase())
      return term.value
  return undefined
}

/** @throws ArmError for a term on a field (or a call) that is not in `known` */
export function checkFilterFields(terms: readonly FilterTerm[], known: readonly string[]): void {
  const names = new Set(known.map((name) => name.toLowerCase()))
  for (const term of terms) {
    const name = (term.kind === 'call' ? term.name : term.field).toLowerCase()
    if (!names.has(name))
      throw new ArmError(
        'InvalidFilterInQueryString',
        `$filter on '${name}' is not supported here; supported: ${known.join(', ')}.`,
        { target: '$filter' },
      )
  }
}
