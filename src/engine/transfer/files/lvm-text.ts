/**
 * Reads LVM's metadata text: sections in braces, numbers, strings, arrays (lvm2, lib/config and lib/format_text).
 * The text is a guest's. Bounded: its length (lvm-label.ts), how deep sections lie, how many values it has; each character is
 * looked at once, and no pattern with a choice runs over it.
 */
import { damaged } from './disk-view.ts'

export type LvmValue = number | string | readonly (number | string)[] | LvmSection
export type LvmSection = ReadonlyMap<string, LvmValue>

const DEPTH_MAX = 8
/** Sections and values: groups of thousands of volumes have a tenth of it. */
const VALUES_MAX = 400_000
/** LVM itself allows 127. */
const NAME_CHARS_MAX = 255
const BLANK = /\s*/y
const WORD = /[A-Za-z0-9_.+\-/]+/y
const SIGNS = '{}[]=,'
const [QUOTE, BACKSLASH] = ['"'.charCodeAt(0), '\\'.charCodeAt(0)]

function endOfWord(text: string, at: number): number {
  WORD.lastIndex = at
  return WORD.test(text) ? WORD.lastIndex : at
}

function afterBlanks(text: string, from: number): number {
  for (let at = from; ;) {
    BLANK.lastIndex = at
    BLANK.test(text)
    at = BLANK.lastIndex
    if (text[at] !== '#') return at
    const end = text.indexOf('\n', at)
    if (end < 0) return text.length
    at = end
  }
}

/** Where the string that begins at `from` has ended. */
function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) return at + 1
    if (code === BACKSLASH) at += 1
  }
  throw damaged('the text of a volume group ends too early')
}

class Parser {
  readonly #text: string
  #at = 0
  #values = 0

  constructor(text: string) {
    this.#text = text
  }

  section(depth: number): LvmSection {
    if (depth > DEPTH_MAX) throw damaged('the text of a volume group is nested too deep', { depth })
    const section = new Map<string, LvmValue>()
    for (let name = this.#next(); name !== undefined && name !== '}'; name = this.#next()) {
      if (name.length > NAME_CHARS_MAX) throw damaged('the text of a volume group has an impossibly long name')
      this.#count()
      const sign = this.#next()
      if (sign === '{') section.set(name, this.section(depth + 1))
      else if (sign === '=') section.set(name, this.#value())
      else throw damaged('the text of a volume group cannot be read', { name })
    }
    return section
  }

  #next(): string | undefined {
    const text = this.#text
    const at = afterBlanks(text, this.#at)
    if (at >= text.length) return undefined
    const isSign = SIGNS.includes(text[at] ?? '')
    const end = isSign ? at + 1 : text.charCodeAt(at) === QUOTE ? endOfString(text, at) : endOfWord(text, at)
    if (end === at) throw damaged('the text of a volume group cannot be read', { at })
    this.#at = end
    return text.slice(at, end)
  }

  #count(): void {
    this.#values += 1
    if (this.#values > VALUES_MAX) throw damaged('the text of a volume group holds too much', { values: VALUES_MAX })
  }

  #value(): LvmValue {
    const token = this.#next()
    if (token !== '[') return plain(token)
    const values: (number | string)[] = []
    for (let item = this.#next(); item !== ']'; item = this.#next()) {
      if (item === ',') continue
      this.#count()
      values.push(plain(item))
    }
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
