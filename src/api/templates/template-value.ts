/** Values of templates: JSON, and how the functions compare, show and look into them. */
import { templateError } from './expression.ts'

export type TemplateValue =
  | string
  | number
  | boolean
  | null
  | readonly TemplateValue[]
  | { readonly [name: string]: TemplateValue }
export type TemplateObject = Readonly<{ [name: string]: TemplateValue }>

export function isTemplateObject(value: TemplateValue | undefined): value is TemplateObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isTemplateArray(value: TemplateValue | undefined): value is readonly TemplateValue[] {
  return Array.isArray(value)
}

/** As `string()` shows it. */
export function textOf(value: TemplateValue): string {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  return value === null ? '' : JSON.stringify(value)
}

export function equalValues(left: TemplateValue, right: TemplateValue): boolean {
  if (isTemplateArray(left) && isTemplateArray(right))
    return left.length === right.length && left.every((value, at) => equalValues(value, right[at] ?? null))
  if (isTemplateObject(left) && isTemplateObject(right)) {
    const names = Object.keys(left)
    return (
      names.length === Object.keys(right).length &&
      names.every((name) => name in right && equalValues(left[name] ?? null, right[name] ?? null))
    )
  }
  return left === right
}

/** A member of an object, its name compared without case, as Azure does. */
export function memberOf(value: TemplateValue, name: string): TemplateValue | undefined {
  if (!isTemplateObject(value)) return undefined
  if (Object.hasOwn(value, name)) return value[name]
  const found = Object.keys(value).find((other) => other.toLowerCase() === name.toLowerCase())
  return found === undefined ? undefined : value[found]
}

/** @throws ArmError `InvalidTemplate` */
export function indexInto(value: TemplateValue, index: TemplateValue): TemplateValue | undefined {
  if (isTemplateArray(value) && typeof index === 'number') return value[index < 0 ? value.length + index : index]
  if (isTemplateObject(value) && typeof index === 'string') return memberOf(value, index)
  throw templateError(
    `'${textOf(index).slice(0, 60)}' is no index of ${isTemplateArray(value) ? 'an array' : 'this value'}.`,
  )
}

/** Every text inside the value. */
export function textsIn(value: TemplateValue): string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null) return []
  return (isTemplateArray(value) ? value : Object.values(value)).flatMap(textsIn)
}
