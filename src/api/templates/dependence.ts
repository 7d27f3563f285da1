/** The order in which the resources of a template may be made: what each depends on, said by `dependsOn` or by `reference()`. */
import type { Evaluator } from './evaluate.ts'
import { isExpression, templateError } from './expression.ts'
import { type TemplateObject, type TemplateValue, textOf } from './template-value.ts'

export type PlannedResource = Readonly<{
  id: string
  type: string
  name: string
  apiVersion: string
  /** Ids of planned resources that come before. */
  after: readonly string[]
  /** The resource as it is in the template, inside its copy loop. */
  source: TemplateObject
  loop: ReadonlyMap<string, number>
}>

/** A planned resource with what it says comes before it. */
export type Unrolled = Readonly<{ resource: PlannedResource; wants: readonly string[]; loopName: string | undefined }>

/** `reference(resourceId(...))` of something in the same template means: after it. */
export function implicitDependencies(source: TemplateObject, evaluator: Evaluator): string[] {
  const found: string[] = []
  const look = (value: TemplateValue): void => {
    if (typeof value === 'string' && isExpression(value)) {
      for (const [, id] of value.matchAll(/\breference\s*\(\s*(resourceId\s*\((?:[^()]|\([^()]*\))*\))/gi))
        if (id !== undefined) found.push(textOf(evaluator.value(`[${id}]`)))
    } else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) look(inner)
  }
  look(source)
  return found
}

/** A wanted resource is named by its id, by `type/name`, by its name alone, or by its copy loop; what is outside is ready already. */
function resolveDependencies(of: string, wants: readonly string[], planned: readonly Unrolled[]): string[] {
  const found = new Set<string>()
  for (const want of wants) {
    const key = want.toLowerCase()
    const matches = planned.filter(({ resource, loopName }) => {
      const { id, type, name } = resource
      const plain = `${type}/${name}`.toLowerCase()
      return (
        key === id.toLowerCase() ||
        key === plain ||
        key === name.toLowerCase() ||
        key === loopName?.toLowerCase() ||
        (key.startsWith('/') && id.toLowerCase().endsWith(key))
      )
    })
    if (matches.length === 0 && !key.includes('/'))
      throw templateError(`'${of}' depends on '${want}', which is not in the template.`)
    if (matches.length > 0 && matches.every(({ resource }) => resource.id === of))
      throw templateError(`'${of}' depends on itself.`)
    for (const { resource } of matches) if (resource.id !== of) found.add(resource.id)
  }
  return [...found]
}

/** Kahn's order; what is left over goes in a circle. */
function inOrder(resources: readonly PlannedResource[]): PlannedResource[] {
  const left = new Map(resources.map((resource) => [resource.id, resource]))
  const ordered: PlannedResource[] = []
  while (left.size > 0) {
    const ready = [...left.values()].filter(({ after }) => after.every((id) => !left.has(id)))
    if (ready.length === 0)
      throw templateError(`The resources ${[...left.keys()].join(', ')} depend on each other in a circle.`)
    for (const resource of ready) {
      ordered.push(resource)
      left.delete(resource.id)
    }
  }
  return ordered
}

/** @throws ArmError `InvalidTemplate` for a dependence on what is not there, or in a circle */
export function inDependenceOrder(planned: readonly Unrolled[]): PlannedResource[] {
  return inOrder(
    planned.map(({ resource, wants }) => ({ ...resource, after: resolveDependencies(resource.id, wants, planned) })),
  )
}
