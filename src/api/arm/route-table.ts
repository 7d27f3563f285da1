/**
 * Finds the route of a path: without case, through double slashes, with any segment percent-encoded. A literal segment is
 * preferred to a parameter. Patterns that begin with `{scope}` are extension resources: whatever stands before their last
 * `/providers/` is the scope.
 */
import { ArmError } from '#contract'
import type { ArmRoute, Method } from './call.ts'

type Node = { literals: Map<string, Node>; parameter: Node | undefined; name: string; routes: Map<Method, Served> }
/** Routes that share a prefix may name its parameters differently: names belong to the route. */
type Served = Readonly<{ route: ArmRoute; names: readonly string[] }>

export type RouteMatch = Readonly<{ route: ArmRoute; params: Readonly<Record<string, string>>; id: string }>

const PATH_LENGTH_MAX = 4096
const SEGMENT_FORBIDDEN = /[\p{C}/\\]/u

function newNode(): Node {
  return { literals: new Map(), parameter: undefined, name: '', routes: new Map() }
}

function isParameter(segment: string): boolean {
  return segment.startsWith('{') && segment.endsWith('}')
}

/** Decoded segments of a path, empty ones left out. @throws ArmError `InvalidRequestFormat` */
export function segmentsOf(path: string): string[] {
  if (path.length > PATH_LENGTH_MAX) throw new ArmError('InvalidRequestFormat', 'The path of the request is too long.')
  return path
    .split('/')
    .filter((segment) => segment !== '')
    .map((segment) => {
      const decoded = decode(segment)
      if (decoded === '' || decoded === '.' || decoded === '..' || SEGMENT_FORBIDDEN.test(decoded))
        throw new ArmError('InvalidRequestFormat', 'A segment of the path holds what no name may hold.')
      return decoded
    })
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw new ArmError('InvalidRequestFormat', 'The path of the request is not properly encoded.', { cause })
  }
}

export class RouteTable {
  readonly #root = newNode()
  readonly #extensions = newNode()
  readonly #types = new Set<string>()

  constructor(routes: readonly ArmRoute[]) {
    for (const route of routes) this.#add(route)
  }

  #add(route: ArmRoute): void {
    const segments = route.path.split('/').filter((segment) => segment !== '')
    const isExtension = segments[0] === '{scope}'
    let node = isExtension ? this.#extensions : this.#root
    for (const segment of isExtension ? segments.slice(1) : segments) {
      if (isParameter(segment)) {
        node.parameter ??= newNode()
        node = node.parameter
      } else {
        const key = segment.toLowerCase()
        const next = node.literals.get(key) ?? newNode()
        next.name = segment
        node.literals.set(key, next)
        node = next
      }
    }
    if (node.routes.has(route.method)) throw new TypeError(`Two routes for ${route.method} ${route.path}`)
    const names = segments.filter(isParameter).map((segment) => segment.slice(1, -1))
    node.routes.set(route.method, { route, names: isExtension ? names.slice(1) : names })
    const at = segments.lastIndexOf('providers')
    if (at >= 0) this.#types.add((segments[at + 1] ?? '').toLowerCase())
  }

  /** HEAD is GET without its body where it has no route of its own. @throws ArmError for a path that is nobody's, or a method that it does not have */
  match(method: Method, path: string): RouteMatch {
    const segments = segmentsOf(path)
    const found = this.#any(segments, method) ?? (method === 'HEAD' ? this.#any(segments, 'GET') : undefined)
    if (found !== undefined) return found
    throw this.#refusal(method, segments)
  }

  #any(segments: readonly string[], method: Method): RouteMatch | undefined {
    return this.#find(this.#root, segments, method) ?? this.#matchExtension(segments, method)
  }

  #matchExtension(segments: readonly string[], method: Method): RouteMatch | undefined {
    const at = segments.findLastIndex((segment) => segment.toLowerCase() === 'providers')
    if (at < 0) return undefined
    const found = this.#find(this.#extensions, segments.slice(at), method)
    if (found === undefined) return undefined
    const scope = at === 0 ? '' : `/${standardScope(segments.slice(0, at)).join('/')}`
    return { ...found, params: { ...found.params, scope }, id: `${scope}${found.id}` }
  }

  #find(root: Node, segments: readonly string[], method: Method): RouteMatch | undefined {
    const walk = (node: Node, at: number, values: readonly string[], id: string): RouteMatch | undefined => {
      const segment = segments[at]
      if (segment === undefined) {
        const served = node.routes.get(method)
        if (served === undefined) return undefined
        const params = Object.fromEntries(served.names.map((name, index) => [name, values[index] ?? '']))
        return { route: served.route, params, id }
      }
      const literal = node.literals.get(segment.toLowerCase())
      const direct = literal === undefined ? undefined : walk(literal, at + 1, values, `${id}/${literal.name}`)
      if (direct !== undefined || node.parameter === undefined) return direct
      return walk(node.parameter, at + 1, [...values, segment], `${id}/${segment}`)
    }
    return walk(root, 0, [], '')
  }

  /** Says by name what is not there: the method, the type, or the provider. */
  #refusal(method: Method, segments: readonly string[]): ArmError {
    const methods = (['GET', 'PUT', 'PATCH', 'POST', 'DELETE'] as const).filter(
      (other) => other !== method && this.#any(segments, other) !== undefined,
    )
    if (methods.length > 0)
      return new ArmError(
        'NotSupported',
        `This resource does not support ${method}; it supports ${methods.join(', ')}.`,
        {
          status: 405,
        },
      )
    const at = segments.findLastIndex((segment) => segment.toLowerCase() === 'providers')
    const namespace = segments[at + 1]
    if (at < 0 || namespace === undefined) return ofResourceManager(segments)
    const type = segments.slice(at + 2).filter((_, index) => index % 2 === 0)
    const known = this.#types.has(namespace.toLowerCase())
    const what = `'${type.join('/')}' of the namespace '${namespace}'`
    return new ArmError(
      'InvalidResourceType',
      `Holdfast does not provide the resource type or operation ${what}${known ? '' : ', nor anything else of that namespace'}.`,
    )
  }
}

/** Paths without a provider are the resource manager's own: `/subscriptions/{s}/tagNames`, `.../resourceGroups/{g}/moveResources`. */
function ofResourceManager(segments: readonly string[]): ArmError {
  if (segments[0]?.toLowerCase() !== 'subscriptions') return new ArmError('NotFound', 'There is nothing at this path.')
  const type = standardScope(segments.filter((_, index) => index % 2 === 0)).join('/')
  return new ArmError(
    'InvalidResourceType',
    `Holdfast does not provide the resource type or operation '${type}' of the namespace 'Microsoft.Resources'.`,
  )
}

/** The leading segments of an id in their standard spelling. */
function standardScope(segments: readonly string[]): string[] {
  const words: Record<string, string> = {
    subscriptions: 'subscriptions',
    resourcegroups: 'resourceGroups',
    providers: 'providers',
  }
  return segments.map((segment, at) => (at % 2 === 0 ? (words[segment.toLowerCase()] ?? segment) : segment))
}
