/**
 * Reads the settings. What is not said is as the schema has it; what the schema does not know is refused by its name and
 * line, because a misspelt limit that is passed over protects nothing. All faults of a file are told at once.
 */
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument, type YAMLMap } from 'yaml'
import { ServerError } from '../errors.ts'
import type { Field, Section } from './fields.ts'
import { CONFIG, type Config } from './schema.ts'

type Reading = Readonly<{
  document: Document.Parsed
  fault: (path: readonly string[], fault: string, node: unknown) => void
}>

function offsetOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined
}

function readField(field: Field<unknown>, node: unknown, path: readonly string[], reading: Reading): unknown {
  const value = field.read(isNode(node) ? node.toJS(reading.document) : node)
  if (value === undefined) reading.fault(path, `must be ${field.expected}`, node)
  return value ?? (value === null ? null : field.standard)
}

function readSection(schema: Section, map: YAMLMap | undefined, path: readonly string[], reading: Reading): unknown {
  const given = new Map<string, unknown>()
  for (const { key, value } of map?.items ?? []) {
    const name = String(isScalar(key) ? key.value : key)
    if (Object.hasOwn(schema.fields, name)) given.set(name, value)
    else {
      const known = Object.keys(schema.fields).join(', ')
      reading.fault([...path, name], `is no setting here; there are ${known}`, key)
    }
  }
  const entries = Object.entries(schema.fields).map(([name, inner]) => {
    const [node, here] = [given.get(name), [...path, name]]
    if (inner.kind === 'section') return [name, readSection(inner, asMap(node, here, reading), here, reading)]
    return [name, given.has(name) ? readField(inner, node, here, reading) : inner.standard]
  })
  return Object.fromEntries(entries) as unknown
}

/** A section whose settings are all commented out is null. */
function asMap(node: unknown, path: readonly string[], reading: Reading): YAMLMap | undefined {
  if (isMap(node)) return node
  const empty = node === undefined || node === null || (isScalar(node) && node.value === null)
  if (!empty) reading.fault(path, 'must hold settings, one a line', node)
  return undefined
}

/** Faults that no single setting has. */
function* faultsTogether({ tls, retention, networks }: Config): Generator<string> {
  if ((tls.certificate === null) !== (tls.key === null)) yield 'tls must have both certificate and key, or neither'
  if (tls.certificate !== null && tls.ca === null) yield 'tls.ca must name the file that clients are to trust'
  if (networks.firstPort > networks.lastPort) yield 'networks.firstPort must not be more than lastPort'
  if (retention.operationDays > retention.jobDays) yield 'retention.operationDays must not be more than jobDays'
}

/** @param source as messages name it. @throws ServerError `config_invalid`, whose facts list every fault */
export function parseConfig(text: string, source: string): Config {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, strict: true })
  const faults = document.errors.map(({ message }) => message.split('\n', 1)[0] ?? message)
  const fault: Reading['fault'] = (path, words, node) => {
    const offset = offsetOf(node)
    const line = offset === undefined ? '' : `line ${lines.linePos(offset).line}: `
    faults.push(`${line}${path.join('.')} ${words}`)
  }
  const reading = { document, fault }
  const root = faults.length === 0 ? asMap(document.contents, ['the file'], reading) : undefined
  const config = readSection(CONFIG, root, [], reading) as Config
  if (faults.length === 0) faults.push(...faultsTogether(config))
  if (faults.length === 0) return config
  throw new ServerError('config_invalid', `The configuration ${source} is not valid: ${faults[0] ?? ''}.`, {
    facts: { path: source, faults },
    hint: 'Correct it; "holdfast config show --defaults" shows every setting.',
  })
}

/** Every setting as it is when nothing is said. */
export const CONFIG_DEFAULTS: Config = parseConfig('', 'of the defaults')
