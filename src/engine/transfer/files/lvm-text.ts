/**
 * Reads LVM's metadata text: sections in braces, numbers, strings, arrays (lvm2, lib/config and lib/format_text).
 * Bounded: the text's length is bounded by its area, sections lie at most 8 deep, and every step goes forward.
 */
import { damaged } from './disk-view.ts'

export type LvmValue = number | string | readonly (number | string)[] | LvmSection
export type LvmSection = ReadonlyMap<string, LvmValue>

const DEPTH_MAX = 8
const TOKEN = /\s+|#[^\n]*|"(?:[^"\\]|\\.)*"|-?\d+(?![A-Za-z_])|[A-Za-z0-9_.+\-/]+|[{}[\]=,]/y

function* tokensOf(text: string): Generator<string> {
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex
    const token = TOKEN.exec(text)?.[0]
    if (token === undefined) throw damaged('the text of a volume group cannot be read', { at })
    const next = TOKEN.lastIndex
    if (!/^[\s#]/.test(token)) yield token
    TOKEN.lastIndex = next // whoever took the token may have read another text meanwhile
  }
}

class Parser {
  readonly #tokens: readonly string[]
  #at = 0

  constructor(text: string) {
    this.#tokens = [...tokensOf(text)]
  }

  section(depth: number): LvmSection {
    if (depth > DEPTH_MAX) throw damaged('the text of a volume group is nested too deep', { depth })
    const section = new Map<string, LvmValue>()
    for (let name = this.#next(); name !== undefined && name !== '}'; name = this.#next()) {
      const sign = this.#next()
      if (sign === '{') section.set(name, this.section(depth + 1))
      else if (sign === '=') section.set(name, this.#value())
      else throw damaged('the text of a volume group cannot be read', { name })
    }
    return section
  }

  #next(): string | undefined {
    const token = this.#tokens[this.#at]
    this.#at += 1
    return token
  }

  #value(): LvmValue {
    const token = this.#next()
    if (token !== '[') return plain(token)
    const values: (number | string)[] = []
    for (let item = this.#next(); item !== ']'; item = this.#next()) if (item !== ',') values.push(plain(item))
    return values
  }
}

function plain(token: string | undefined): number | string {
  if (token === undefined || /^[{}[\]=,]$/.test(token)) throw damaged('the text of a volume group ends too early')
  if (token.startsWith('"')) return token.slice(1, -1).replaceAll(/\\(.)/g, '$1')
  const number = Number(token)
  if (!Number.isSafeInteger(number)) throw damaged('the text of a volume group holds no number where one must be')
  return number
}

/** @throws `files_damaged` */
export function parseLvmText(text: string): LvmSection {
  return new Parser(text).section(0)
}

export function sectionIn(section: LvmSection, name: string): LvmSection {
  const value = section.get(name)
  if (value instanceof Map) return value as LvmSection
  if (value === undefined) return new Map()
  throw damaged('the text of a volume group is not as it must be', { name })
}

export function numberIn(section: LvmSection, name: string): number {
  const value = section.get(name)
  if (typeof value === 'number' && value >= 0) return value
  throw damaged('the text of a volume group lacks a number', { name })
}

export function stringIn(section: LvmSection, name: string): string {
  const value = section.get(name)
  if (typeof value === 'string') return value
  throw damaged('the text of a volume group lacks a word', { name })
}

/** An array; empty when it is not there. */
export function arrayIn(section: LvmSection, name: string): readonly (number | string)[] {
  const value = section.get(name)
  return Array.isArray(value) ? (value as readonly (number | string)[]) : []
}

/** The sections in a section, by name. */
export function* sectionsIn(section: LvmSection): Generator<[string, LvmSection]> {
  for (const [name, value] of section) if (value instanceof Map) yield [name, value as LvmSection]
}
