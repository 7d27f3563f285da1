/**
 * Template expressions: `[concat('a', parameters('b').c[0])]`. Source: Azure "Template syntax and expressions"; strings are in
 * single quotes, doubled inside; names of functions are compared without case. A text that begins with `[[` is that text with
 * one bracket less.
 */
import { ArmError } from '#contract'

export type Expression =
  | Readonly<{ kind: 'value'; value: string | number }>
  | Readonly<{ kind: 'call'; name: string; arguments: readonly Expression[] }>
  | Readonly<{ kind: 'member'; of: Expression; name: string; isSafe: boolean }>
  | Readonly<{ kind: 'index'; of: Expression; index: Expression; isSafe: boolean }>

const TOKEN = /\s*(?:('(?:[^']|'')*')|(-?\d+)|([A-Za-z_][\w.]*)|(\.\?|[()[\],.?]))/y
const LENGTH_MAX = 24_576
const DEPTH_MAX = 100

type Token = Readonly<{ kind: 'text' | 'number' | 'name' | 'mark'; text: string }>

export function templateError(message: string, target?: string): ArmError {
  return new ArmError('InvalidTemplate', message, target === undefined ? {} : { target })
}

/** Whether a text of a template is an expression, and not a text that only looks like one. */
export function isExpression(text: string): boolean {
  return text.startsWith('[') && text.endsWith(']') && !text.startsWith('[[')
}

/** A text that is no expression, as it is meant. */
export function literalText(text: string): string {
  return text.startsWith('[[') ? text.slice(1) : text
}

function tokensOf(text: string): Token[] {
  const found: Token[] = []
  TOKEN.lastIndex = 0
  const end = text.trimEnd().length
  while (TOKEN.lastIndex < end) {
    const at = TOKEN.lastIndex
    const [, quoted, number, name, mark] = TOKEN.exec(text) ?? []
    if (quoted !== undefined) found.push({ kind: 'text', text: quoted.slice(1, -1).replaceAll("''", "'") })
    else if (number !== undefined) found.push({ kind: 'number', text: number })
    else if (name !== undefined) {
      // A name swallows the dots of `f().a.b`: only the first word is a name, the rest are members.
      const [first = ''] = name.split('.', 1)
      const isNamespaced = text[TOKEN.lastIndex] === '('
      found.push({ kind: 'name', text: isNamespaced ? name : first })
      if (!isNamespaced) TOKEN.lastIndex -= name.length - first.length
    } else if (mark !== undefined) found.push({ kind: 'mark', text: mark })
    else throw templateError(`The expression '${text.slice(0, 100)}' cannot be read at position ${at}.`)
  }
  return found
}

class Parser {
  readonly #tokens: readonly Token[]
  readonly #text: string
  #at = 0
  #depth = 0

  constructor(text: string) {
    this.#text = text
    this.#tokens = tokensOf(text)
  }

  whole(): Expression {
    const expression = this.#expression()
    if (this.#at !== this.#tokens.length) throw this.#unexpected()
    return expression
  }

  #unexpected(): ArmError {
    const token = this.#tokens[this.#at]
    const what = token === undefined ? 'its end' : `'${token.text}'`
    return templateError(`The expression '${this.#text.slice(0, 100)}' cannot be read: ${what} was not expected.`)
  }

  #take(mark: string): boolean {
    const token = this.#tokens[this.#at]
    if (token?.kind !== 'mark' || token.text !== mark) return false
    this.#at += 1
    return true
  }

  #need(mark: string): void {
    if (!this.#take(mark)) throw this.#unexpected()
  }

  #expression(): Expression {
    this.#depth += 1
    if (this.#depth > DEPTH_MAX) throw templateError('An expression is nested too deep.')
    let expression = this.#primary()
    for (;;) {
      const isSafe = this.#take('.?')
      if (isSafe || this.#take('.')) expression = { kind: 'member', of: expression, name: this.#name(), isSafe }
      else if (this.#take('[')) {
        const safe = this.#take('?')
        expression = { kind: 'index', of: expression, index: this.#expression(), isSafe: safe }
        this.#need(']')
      } else break
    }
    this.#depth -= 1
    return expression
  }

  #name(): string {
    const token = this.#tokens[this.#at]
    if (token?.kind !== 'name') throw this.#unexpected()
    this.#at += 1
    return token.text
  }

  #primary(): Expression {
    const token = this.#tokens[this.#at]
    if (token === undefined || token.kind === 'mark') throw this.#unexpected()
    this.#at += 1
    if (token.kind === 'text') return { kind: 'value', value: token.text }
    if (token.kind === 'number') return { kind: 'value', value: Number(token.text) }
    this.#need('(')
    const given: Expression[] = []
    if (!this.#take(')')) {
      do given.push(this.#expression())
      while (this.#take(','))
      this.#need(')')
    }
    return { kind: 'call', name: token.text.toLowerCase(), arguments: given }
  }
}

/** @param text with its brackets @throws ArmError `InvalidTemplate` */
export function parseExpression(text: string): Expression {
  if (text.length > LENGTH_MAX) throw templateError(`An expression is longer than ${LENGTH_MAX} characters.`)
  return new Parser(text.slice(1, -1)).whole()
}
