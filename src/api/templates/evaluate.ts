/** Evaluates expressions, and whole values of a template, in the scope of a deployment. */
import { type Expression, isExpression, literalText, parseExpression, templateError } from './expression.ts'
import { PLAIN_FUNCTIONS } from './functions.ts'
import {
  indexInto,
  isTemplateArray,
  isTemplateObject,
  memberOf,
  type TemplateObject,
  type TemplateValue,
  textOf,
} from './template-value.ts'

/** What a template may ask of the deployment that it is in. */
export type TemplateScope = Readonly<{
  parameter: (name: string) => TemplateValue
  variable: (name: string) => TemplateValue
  /** `deployment()`, `resourceGroup()`, `subscription()`, `tenant()`, `environment()`. */
  about: (what: string) => TemplateValue | undefined
  /** The id of a resource by type and names, with optional subscription and group before them. */
  resourceId: (kind: 'group' | 'subscription' | 'tenant' | 'extension', given: readonly string[]) => string
  /** The state of a resource that was deployed, or that is there; undefined before anything is deployed. */
  reference?: ((id: string, full: boolean) => TemplateValue) | undefined
  /** Of the innermost copy loop and by name. */
  copyIndex: (loop: string | undefined) => number | undefined
  /** `utcNow()` and `newGuid()`, which only defaults of parameters may ask for. */
  chance?: Readonly<{ now: (format: string | undefined) => string; guid: () => string }> | undefined
}>

const RESOURCE_ID_KINDS = {
  resourceid: 'group',
  subscriptionresourceid: 'subscription',
  tenantresourceid: 'tenant',
  extensionresourceid: 'extension',
} as const

export class Evaluator {
  readonly #scope: TemplateScope

  constructor(scope: TemplateScope) {
    this.#scope = scope
  }

  /** Every text in `value` that is an expression is replaced by what it gives. */
  value(value: TemplateValue): TemplateValue {
    if (typeof value === 'string')
      return isExpression(value) ? this.#evaluate(parseExpression(value)) : literalText(value)
    if (isTemplateArray(value)) return value.map((item) => this.value(item))
    if (!isTemplateObject(value)) return value
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [textOf(this.value(name)), this.value(inner)]),
    )
  }

  /** @throws ArmError when it is not text */
  text(value: TemplateValue | undefined, what: string): string {
    const result = value === undefined ? undefined : this.value(value)
    if (typeof result === 'string') return result
    throw templateError(`${what} must be text.`)
  }

  #evaluate(expression: Expression): TemplateValue {
    switch (expression.kind) {
      case 'value':
        return expression.value
      case 'member':
        return this.#member(expression)
      case 'call':
        return this.#call(expression.name, expression.arguments)
      case 'index':
      default: {
        const of = this.#evaluate(expression.of)
        if (expression.isSafe && of === null) return null
        const found = indexInto(of, this.#evaluate(expression.index))
        return found ?? this.#absent('this index', expression.isSafe)
      }
    }
  }

  #member(expression: Extract<Expression, { kind: 'member' }>): TemplateValue {
    const of = this.#evaluate(expression.of)
    const found = memberOf(of, expression.name)
    return (
      found ??
      this.#absent(
        `the property '${expression.name}'`,
        expression.isSafe || (isTemplateObject(of) && expression.name in of),
      )
    )
  }

  #absent(what: string, isSafe: boolean): null {
    if (isSafe) return null
    throw templateError(`The template asks for ${what}, which is not there.`)
  }

  #call(name: string, given: readonly Expression[]): TemplateValue {
    const plainName = name.startsWith('__bicep.') ? name.slice(8) : name
    // The branch that is not taken may ask for what is not there.
    if (plainName === 'if') {
      const [condition, yes, no] = given
      if (condition === undefined || yes === undefined || no === undefined)
        throw templateError('if() takes three arguments.')
      return this.#evaluate(this.#evaluate(condition) === true ? yes : no)
    }
    const values = given.map((argument) => this.#evaluate(argument))
    const plain = PLAIN_FUNCTIONS.get(plainName)
    if (plain !== undefined) return plain(...values)
    return this.#scoped(plainName, values)
  }

  #scoped(name: string, values: readonly TemplateValue[]): TemplateValue {
    const [first] = values
    if (name === 'parameters') return this.#scope.parameter(textOf(first ?? null))
    if (name === 'variables') return this.#scope.variable(textOf(first ?? null))
    if (name === 'copyindex') return this.#copyIndex(values)
    if (name in RESOURCE_ID_KINDS)
      return this.#scope.resourceId(
        RESOURCE_ID_KINDS[name as keyof typeof RESOURCE_ID_KINDS],
        values.map((value) => textOf(value)),
      )
    if (name === 'reference') return this.#reference(values)
    if (name === 'utcnow' || name === 'newguid') return this.#chance(name, first)
    const about = this.#scope.about(name)
    if (about !== undefined) return about
    throw templateError(`The template function '${name}' is not supported.`)
  }

  #copyIndex(values: readonly TemplateValue[]): number {
    const loop = typeof values[0] === 'string' ? values[0] : undefined
    const offset = values.find((value) => typeof value === 'number') ?? 0
    const index = this.#scope.copyIndex(loop)
    if (index === undefined)
      throw templateError('copyIndex() is used outside a copy loop, or names one that is not there.')
    return index + offset
  }

  #reference([id, , full]: readonly TemplateValue[]): TemplateValue {
    if (this.#scope.reference === undefined)
      throw templateError('reference() cannot be used here: nothing is deployed yet.')
    return this.#scope.reference(textOf(id ?? null), typeof full === 'string' && full.toLowerCase() === 'full')
  }

  #chance(name: 'utcnow' | 'newguid', first: TemplateValue | undefined): string {
    if (this.#scope.chance === undefined) throw templateError(`${name}() may only stand in the default of a parameter.`)
    return name === 'newguid'
      ? this.#scope.chance.guid()
      : this.#scope.chance.now(typeof first === 'string' ? first : undefined)
  }
}

export type { TemplateObject, TemplateValue }
