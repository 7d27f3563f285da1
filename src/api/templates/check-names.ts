/** What a template asks for by name must be in it: found before anything is deployed, outputs included. */
import { type Expression, isExpression, parseExpression, templateError } from './expression.ts'
import { isTemplateObject, memberOf, type TemplateObject, type TemplateValue } from './template-value.ts'

const objectOrNone = (value: TemplateValue | undefined): TemplateObject => (isTemplateObject(value) ? value : {})

/** Parameters and variables that an expression asks for by a plain name, wherever in the template it stands. */
export function checkNames(source: TemplateObject): void {
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
