/**
 * A deployment template made ready: parameters checked, copy loops unrolled, conditions decided, ids known, and the order in
 * which resources may be made. What depends on the state of others (`reference()`) is evaluated when its turn comes.
 *
 * Source: Azure "Template structure and syntax", schemas 2015-01-01 to 2019-04-01 and languageVersion 2.0. Not supported, and
 * refused by name: nested and linked templates, deployment scripts, user-defined functions, `existing` in languageVersion 2.0.
 */
import { ArmError } from '#contract'
import { Evaluator, type TemplateScope } from './evaluate.ts'
import { checkNames } from './check-names.ts'
import { implicitDependencies, inDependenceOrder, type PlannedResource, type Unrolled } from './dependence.ts'
import { templateError } from './expression.ts'
import {
  isTemplateArray,
  isTemplateObject,
  memberOf,
  type TemplateObject,
  type TemplateValue,
  textOf,
  textsIn,
} from './template-value.ts'

export type DeploymentContext = Pick<TemplateScope, 'about' | 'resourceId'> &
  Readonly<{ chance: NonNullable<TemplateScope['chance']> }>

export type PlannedDeployment = Readonly<{
  /** In an order that holds all dependencies. */
  resources: readonly PlannedResource[]
  /** As they may be shown: secure ones carry no value. */
  parameters: Readonly<Record<string, Readonly<{ type: string; value?: TemplateValue }>>>
  /** Every text inside secure parameters: what must not be kept, shown or logged. */
  secrets: readonly string[]
  /** The body of a resource's PUT. */
  bodyOf: (resource: PlannedResource, reference: NonNullable<TemplateScope['reference']>) => TemplateObject
  outputs: (
    reference: NonNullable<TemplateScope['reference']>,
  ) => Readonly<Record<string, Readonly<{ type: string; value: TemplateValue }>>>
}>

const RESOURCES_MAX = 800
const COPY_MAX = 800
const NOT_OF_THE_BODY = new Set([
  'type',
  'apiversion',
  'name',
  'dependson',
  'copy',
  'condition',
  'comments',
  'metadata',
  'scope',
  'existing',
  'resources',
])
export const SECURE = new Set(['securestring', 'secureobject'])

function object(value: unknown, what: string): TemplateObject {
  if (isTemplateObject(value as TemplateValue)) return value as TemplateObject
  throw templateError(`${what} must be an object.`)
}

function optionalObject(value: TemplateValue | undefined, what: string): TemplateObject {
  return value === undefined || value === null ? {} : object(value, what)
}

type Values = Map<string, TemplateValue>

class Planner {
  readonly #template: TemplateObject
  readonly #context: DeploymentContext
  readonly #parameters: Values = new Map()
  readonly #variables: Values = new Map()
  readonly #evaluating = new Set<string>()
  readonly secrets = new Set<string>()

  constructor(template: TemplateObject, context: DeploymentContext) {
    this.#template = template
    this.#context = context
  }

  evaluator(
    loop: ReadonlyMap<string, number> = new Map(),
    more: Pick<TemplateScope, 'reference' | 'chance'> = {},
  ): Evaluator {
    return new Evaluator({
      parameter: (name) => this.#parameter(name),
      variable: (name) => this.#variable(name),
      about: this.#context.about,
      resourceId: this.#context.resourceId,
      copyIndex: (name) => (name === undefined ? [...loop.values()].at(-1) : loop.get(name.toLowerCase())),
      ...more,
    })
  }

  readParameters(given: TemplateObject): PlannedDeployment['parameters'] {
    const declared = optionalObject(this.#template['parameters'], 'parameters')
    for (const name of Object.keys(given))
      if (memberOf(declared, name) === undefined)
        throw templateError(
          `The template has no parameter '${name}'; it has: ${Object.keys(declared).join(', ') || 'none'}.`,
          `parameters.${name}`,
        )
    const shown: Record<string, { type: string; value?: TemplateValue }> = {}
    for (const [name, declaration] of Object.entries(declared)) {
      const { value, type } = this.#readParameter(
        name,
        object(declaration, `The parameter '${name}'`),
        memberOf(given, name),
      )
      this.#parameters.set(name.toLowerCase(), value)
      const isSecure = SECURE.has(type.toLowerCase())
      if (isSecure) for (const text of textsIn(value)) this.secrets.add(text)
      shown[name] = isSecure ? { type } : { type, value }
    }
    return shown
  }

  #readParameter(
    name: string,
    declaration: TemplateObject,
    given: TemplateValue | undefined,
  ): { value: TemplateValue; type: string } {
    const type = textOf(declaration['type'] ?? null)
    const fallback = declaration['defaultValue']
    if (isTemplateObject(given) && given['reference'] !== undefined)
      throw templateError(
        `The parameter '${name}' refers to a key vault, which Holdfast does not have.`,
        `parameters.${name}`,
      )
    const direct = isTemplateObject(given) ? given['value'] : undefined
    if (direct === undefined && fallback === undefined && declaration['nullable'] !== true)
      throw templateError(`The value for the template parameter '${name}' is not provided.`, `parameters.${name}`)
    const value =
      direct === undefined
        ? this.evaluator(new Map(), { chance: this.#context.chance }).value(fallback ?? null)
        : direct
    checkParameter(name, declaration, type, value)
    return { value, type }
  }

  #parameter(name: string): TemplateValue {
    const value = this.#parameters.get(name.toLowerCase())
    if (value === undefined) throw templateError(`The template parameter '${name}' is not found.`)
    return value
  }

  #variable(name: string): TemplateValue {
    const key = name.toLowerCase()
    const known = this.#variables.get(key)
    if (known !== undefined) return known
    const declared = memberOf(optionalObject(this.#template['variables'], 'variables'), name)
    if (declared === undefined) throw templateError(`The template variable '${name}' is not found.`)
    if (this.#evaluating.has(key)) throw templateError(`The template variable '${name}' depends on itself.`)
    this.#evaluating.add(key)
    const value = this.evaluator().value(declared)
    this.#evaluating.delete(key)
    this.#variables.set(key, value)
    return value
  }

  planResources(): PlannedResource[] {
    const list = this.#template['resources'] ?? []
    const sources = isTemplateArray(list) ? list : Object.values(object(list, 'resources'))
    const planned = sources.flatMap((source) => this.#unroll(object(source, 'A resource'), undefined))
    if (planned.length > RESOURCES_MAX) throw templateError(`The template has more than ${RESOURCES_MAX} resources.`)
    const seen = new Set<string>()
    for (const { resource } of planned) {
      if (seen.has(resource.id.toLowerCase()))
        throw templateError(`The resource '${resource.id}' is in the template twice.`)
      seen.add(resource.id.toLowerCase())
    }
    return inDependenceOrder(planned)
  }

  #unroll(source: TemplateObject, parent: Unrolled | undefined): Unrolled[] {
    const outer = parent?.resource.loop ?? new Map<string, number>()
    if ((source['copy'] ?? null) === null) return this.#one(source, outer, undefined, parent)
    const copy = object(source['copy'], 'The copy loop of a resource')
    const name = this.evaluator(outer).text(copy['name'], 'The name of a copy loop')
    const count = this.evaluator(outer).value(copy['count'] ?? 0)
    if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0 || count > COPY_MAX)
      throw templateError(`The copy loop '${name}' must have a count from 0 to ${COPY_MAX}.`)
    return Array.from({ length: count }, (_, at) =>
      this.#one(source, new Map([...outer, [name.toLowerCase(), at]]), name, parent),
    ).flat()
  }

  #one(
    source: TemplateObject,
    loop: ReadonlyMap<string, number>,
    loopName: string | undefined,
    parent: Unrolled | undefined,
  ): Unrolled[] {
    const evaluator = this.evaluator(loop)
    const condition = source['condition'] === undefined ? true : evaluator.value(source['condition'])
    if (typeof condition !== 'boolean') throw templateError('The condition of a resource must be true or false.')
    if (!condition) return []
    if (source['existing'] === true)
      throw templateError("'existing' resources of languageVersion 2.0 are not supported.")
    const ownType = evaluator.text(source['type'], 'The type of a resource')
    const ownName = evaluator.text(source['name'], `The name of a resource of type ${ownType}`)
    const isInside = parent !== undefined
    const type = isInside && !ownType.includes('.') ? `${parent.resource.type}/${ownType}` : ownType
    const name =
      isInside && ownName.split('/').length < type.split('/').length - 1
        ? `${parent.resource.name}/${ownName}`
        : ownName
    const apiVersion = evaluator.text(
      source['apiVersion'] ?? (this.#template['apiProfile'] === undefined ? undefined : '2024-11-01'),
      `The apiVersion of ${name}`,
    )
    if (apiVersion === '') throw templateError(`The apiVersion of ${name} is missing.`)
    if (type.toLowerCase() === 'microsoft.resources/deployments')
      throw new ArmError('InvalidTemplate', `Nested deployments ('${name}') are not supported by Holdfast.`)
    const id = this.#context.resourceId(source['scope'] === undefined ? 'group' : 'extension', [
      ...(source['scope'] === undefined ? [] : [evaluator.text(source['scope'], 'The scope of a resource')]),
      type,
      ...name.split('/'),
    ])
    const wants = this.#wants(source, evaluator, parent)
    const resource = { id, type, name, apiVersion, after: [], source, loop }
    const unrolled: Unrolled = { resource, wants, loopName }
    const inner = source['resources'] ?? []
    if (!isTemplateArray(inner)) throw templateError(`The resources inside ${name} must be an array.`)
    return [unrolled, ...inner.flatMap((child) => this.#unroll(object(child, 'A resource'), unrolled))]
  }

  #wants(source: TemplateObject, evaluator: Evaluator, parent: Unrolled | undefined): string[] {
    const given = source['dependsOn']
    const listed = given === undefined || given === null ? [] : evaluator.value(given)
    if (!isTemplateArray(listed)) throw templateError('dependsOn must be an array.')
    const implicit = implicitDependencies(source, evaluator)
    return [...listed.map(textOf), ...implicit, ...(parent === undefined ? [] : [parent.resource.id])]
  }
}

function checkParameter(name: string, declaration: TemplateObject, type: string, value: TemplateValue): void {
  const wrong = (what: string): ArmError =>
    templateError(`The value of the template parameter '${name}' ${what}.`, `parameters.${name}`)
  if (value === null && declaration['nullable'] === true) return
  const kinds: Readonly<Record<string, boolean>> = {
    string: typeof value === 'string',
    securestring: typeof value === 'string',
    int: Number.isSafeInteger(value),
    bool: typeof value === 'boolean',
    array: isTemplateArray(value),
    object: isTemplateObject(value),
    secureobject: isTemplateObject(value),
  }
  const fits = kinds[type.toLowerCase()]
  if (fits === undefined)
    throw templateError(`The template parameter '${name}' has the unknown type '${type}'.`, `parameters.${name}`)
  if (!fits) throw wrong(`is not of its type '${type}'`)
  const { allowedValues, minValue, maxValue, minLength, maxLength } = declaration
  if (isTemplateArray(allowedValues) && !allowedValues.includes(value))
    throw wrong(`is not one of ${allowedValues.map(textOf).join(', ')}`)
  if (
    typeof value === 'number' &&
    ((typeof minValue === 'number' && value < minValue) || (typeof maxValue === 'number' && value > maxValue))
  )
    throw wrong('is out of its range')
  const length = typeof value === 'string' || isTemplateArray(value) ? value.length : undefined
  if (
    length !== undefined &&
    ((typeof minLength === 'number' && length < minLength) || (typeof maxLength === 'number' && length > maxLength))
  )
    throw wrong('is too short or too long')
}

/** The copy loops inside properties: `"copy": [{name, count, input}]` becomes the property of that name. */
function unrollProperties(
  value: TemplateValue,
  evaluatorOf: (loop: ReadonlyMap<string, number>) => Evaluator,
  loop: ReadonlyMap<string, number>,
): TemplateValue {
  if (isTemplateArray(value)) return value.map((item) => unrollProperties(item, evaluatorOf, loop))
  if (!isTemplateObject(value)) return evaluatorOf(loop).value(value)
  const result: Record<string, TemplateValue> = {}
  for (const [name, inner] of Object.entries(value)) {
    if (name === 'copy' && isTemplateArray(inner)) {
      for (const each of inner) {
        const { name: property, count, input } = object(each, 'A copy loop')
        const times = evaluatorOf(loop).value(count ?? 0)
        if (typeof times !== 'number' || !Number.isSafeInteger(times) || times < 0 || times > COPY_MAX)
          throw templateError(`The copy loop '${textOf(property ?? null)}' has no proper count.`)
        result[textOf(property ?? null)] = Array.from({ length: times }, (_, at) =>
          unrollProperties(
            input ?? null,
            evaluatorOf,
            new Map([...loop, [textOf(property ?? null).toLowerCase(), at]]),
          ),
        )
      }
    } else result[textOf(evaluatorOf(loop).value(name))] = unrollProperties(inner, evaluatorOf, loop)
  }
  return result
}

/** @param given `{name: {value}}` @throws ArmError `InvalidTemplate` */
export function planDeployment(template: unknown, given: unknown, context: DeploymentContext): PlannedDeployment {
  const source = object(template, 'The template')
  if (source['functions'] !== undefined && Object.keys(source['functions'] ?? {}).length > 0)
    throw templateError('User-defined functions are not supported.')
  checkNames(source)
  const planner = new Planner(source, context)
  const parameters = planner.readParameters(optionalObject(given as TemplateValue, 'parameters'))
  const resources = planner.planResources()
  return {
    resources,
    parameters,
    secrets: [...planner.secrets],
    bodyOf: (resource, reference) => {
      const kept = Object.entries(resource.source).filter(([name]) => !NOT_OF_THE_BODY.has(name.toLowerCase()))
      const evaluatorOf = (loop: ReadonlyMap<string, number>): Evaluator => planner.evaluator(loop, { reference })
      return unrollProperties(Object.fromEntries(kept), evaluatorOf, resource.loop) as TemplateObject
    },
    outputs: (reference) => outputsOf(source, planner.evaluator(new Map(), { reference })),
  }
}

function outputsOf(
  source: TemplateObject,
  evaluator: Evaluator,
): Record<string, { type: string; value: TemplateValue }> {
  const outputs: Record<string, { type: string; value: TemplateValue }> = {}
  for (const [name, declaration] of Object.entries(optionalObject(source['outputs'], 'outputs'))) {
    const { type, value, condition } = object(declaration, `The output '${name}'`)
    if (condition !== undefined && evaluator.value(condition) !== true) continue
    if (SECURE.has(textOf(type ?? null).toLowerCase())) continue
    outputs[name] = { type: textOf(type ?? null), value: evaluator.value(value ?? null) }
  }
  return outputs
}
