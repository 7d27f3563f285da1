/**
 * The settings as text: the commented file that `init` writes, in which what is as usual is commented out so that later
 * versions may choose better; and the same as a whole, as `config show` prints it. Also the JSON Schema of the file.
 */
import { stringify } from 'yaml'
import type { Field, JsonSchema, Section } from './fields.ts'
import { CONFIG, type Config } from './schema.ts'

const COMMENT_WIDTH = 110

function comment(text: string, indent: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length >= COMMENT_WIDTH) {
      lines.push(`${indent}# ${line}`)
      line = ''
    }
    line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, `${indent}# ${line}`]
}

function assignment(name: string, field: Field<unknown>, value: unknown): string {
  const shown = stringify(field.show(value), { collectionStyle: 'flow', lineWidth: 0 }).trimEnd()
  return `${name}: ${shown}`
}

function render(schema: Section, values: Readonly<Record<string, unknown>>, indent: string, all: boolean): string[] {
  return Object.entries(schema.fields).flatMap(([name, inner]) => {
    const value = values[name]
    const words = comment(inner.comment, indent)
    if (inner.kind === 'section') {
      const below = render(inner, value as Record<string, unknown>, `${indent}  `, all)
      return [...(indent === '' ? [''] : []), ...words, `${indent}${name}:`, ...below]
    }
    const usual = JSON.stringify(value) === JSON.stringify(inner.standard)
    return [...words, `${indent}${usual && !all ? '#' : ''}${assignment(name, inner, value)}`]
  })
}

/** The commented file. @param all write also what is as usual */
export function configText(config: Config, all = false): string {
  const head = comment(`${CONFIG.comment} "holdfast config check" checks it.`, '')
  const note = all ? [] : ['# A line that begins with "#" and a setting shows what holds when nothing is said.']
  return `${[...head, ...note, ...render(CONFIG, config, '', all)].join('\n')}\n`
}

function schemaOf(inner: Field<unknown> | Section): JsonSchema {
  if (inner.kind === 'field')
    return { ...inner.schema, description: inner.comment, default: inner.show(inner.standard) }
  const properties = Object.fromEntries(Object.entries(inner.fields).map(([name, below]) => [name, schemaOf(below)]))
  return { type: ['object', 'null'], description: inner.comment, properties, additionalProperties: false }
}

/** JSON Schema (2020-12) of the file. */
export function configJsonSchema(): JsonSchema {
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', title: 'holdfast.yaml', ...schemaOf(CONFIG) }
}

export type SettingRow = Readonly<{ path: string; comment: string; expected: string; standard: string }>

/** Every setting with its path, for documents. */
export function settingRows(schema: Section = CONFIG, above: readonly string[] = []): SettingRow[] {
  return Object.entries(schema.fields).flatMap(([name, inner]) => {
    const path = [...above, name]
    if (inner.kind === 'section') return settingRows(inner, path)
    const standard = JSON.stringify(inner.show(inner.standard)).replaceAll('"', '')
    return [{ path: path.join('.'), comment: inner.comment, expected: inner.expected, standard }]
  })
}
