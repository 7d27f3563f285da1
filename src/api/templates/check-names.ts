/** What a template asks for by name must be in it: found before anything is deployed, outputs included. */
import { type Expression, isExpression, parseExpression, templateError } from './expression.ts'
import { isTemplateObject, memberOf, type TemplateObject, type TemplateValue } from './template-value.ts'

const objectOrNone = (value: TemplateValue | undefined): TemplateObject => (isTemplateObject(value) ? value : {})

const MEMBERS = new Set([
  '$schema',
  'apiProfile',
  'contentVersion',
  'definitions',
  'functions',
  'languageVersion',
  'metadata',
  'outputs',
  'parameters',
  'resources',
  'variables',
])

/** A member that is passed over could be one that was meant to do something. @throws ArmError `InvalidTemplate` */
function checkMembers(source: TemplateObject): void {
  for (const name of Object.keys(source))
    if (!MEMBERS.has(name))
      throw templateError(`A template has no member '${name.slice(0, 60)}'; it has: ${[...MEMBERS].join(', ')}.`)
}

/** @throws ArmError `InvalidTemplate` for one that would come out empty */
function checkOutputs(source: TemplateObject): void {
  for (const [name, declaration] of Object.entries(objectOrNone(source['outputs']))) {
    const { type, value } = objectOrNone(declaration)
    if (typeof type !== 'string' || value === undefined)
      throw templateError(`The output '${name}' needs a type and a value; a copy loop in an output is not supported.`)
  }
}

/** Parameters and variables that an expression asks for by a plain name, wherever in the template it stands. */
export function checkNames(source: TemplateObject): void {
  checkMembers(source)
  checkOutputs(source)
  const known = {
    parameters: objectOrNone(source['parameters']),
    variables: objectOrNone(source['variables']),
  }
  const checkOne = (expression: Expression): void => {
    if (expression.kind === 'value') return
    if (expression.kind === 'call') {
      const [first] = expression.arguments
      const asked = first?.kind === 'value' ? String(first.value) : undefined
      const kind = expression.name
      if (
        asked !== undefined &&
        (kind === 'parameters' || kind === 'variables') &&
        memberOf(known[kind], asked) === undefined
      )
        throw templateError(`The template ${kind === 'parameters' ? 'parameter' : 'variable'} '${asked}' is not found.`)
      for (const argument of expression.arguments) checkOne(argument)
      return
    }
    checkOne(expression.of)
    if (expression.kind === 'index') checkOne(expression.index)
  }
  const look = (value: TemplateValue): void => {
    if (typeof value === 'string') {
      if (isExpression(value)) checkOne(parseExpression(value))
    } else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) look(inner)
  }
  for (const part of ['variables', 'resources', 'outputs'] as const) look(source[part] ?? null)
}
