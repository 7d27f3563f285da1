/**
 * Ids of Azure resources: compared without case, given back as they were made.
 *
 *   /subscriptions/{s}
 *   /subscriptions/{s}/resourceGroups/{g}
 *   {one of the above or nothing}/providers/{namespace}/{type}/{name}[/{type}/{name}...]
 *   {any of these}/providers/{namespace}/{type}/{name}            an extension resource, such as a role assignment
 *
 * Source: azure-resource-manager-rpc v1.0, resource-api-reference.md. Clients write `resourcegroups`, `/Subscriptions`,
 * and double slashes; all are read, none is written.
 */
import { ArmError } from './arm-error.ts'

export type ResourceId = Readonly<{
  /** As given, but with the standard spelling of the leading segments. */
  text: string
  /** For comparison and as a key: lower case. */
  key: string
  subscription: string | undefined
  group: string | undefined
  /** `Microsoft.Compute/disks`, as spelled in the id; undefined for a subscription or a group. */
  type: string | undefined
  /** Of the resource alone: the last segment. */
  name: string
  /** The id of what holds it: the parent resource, the group, the subscription; undefined for a subscription. */
  parent: string | undefined
}>

const ID_LENGTH_MAX = 2048
const SEGMENT = /^[^/<>%&?\\\p{C}]{1,260}$/u

function malformed(text: string, target: string | undefined): ArmError {
  const message = `'${text.slice(0, 200)}' is not the id of a resource.`
  return new ArmError('InvalidResourceReference', message, target === undefined ? {} : { target })
}

/** The key under which an id is stored and looked up. */
export function idKey(id: string): string {
  return id.toLowerCase()
}

export function sameId(left: string, right: string): boolean {
  return idKey(left) === idKey(right)
}

/** @throws ArmError `InvalidResourceReference`, naming `target` */
export function parseResourceId(text: unknown, target?: string): ResourceId {
  if (typeof text !== 'string' || text.length > ID_LENGTH_MAX || !text.startsWith('/'))
    throw malformed(String(text), target)
  const segments = text.split('/').filter((segment) => segment !== '')
  if (segments.length === 0 || segments.some((segment) => !SEGMENT.test(segment))) throw malformed(text, target)
  const parsed = new IdReader(segments).read()
  if (parsed === undefined) throw malformed(text, target)
  return parsed
}

/** The same as `parseResourceId` for an id of just this type. @throws ArmError `InvalidResourceReference` */
export function parseIdOfType(text: unknown, type: string, target?: string): ResourceId {
  const id = parseResourceId(text, target)
  if (id.type?.toLowerCase() === type.toLowerCase()) return id
  throw new ArmError(
    'InvalidResourceReference',
    `'${id.text}' is not the id of a ${type}.`,
    target === undefined ? {} : { target },
  )
}

/** Reads an id from its segments; one pass, no back-tracking. */
class IdReader {
  readonly #segments: readonly string[]
  #at = 0
  #text = ''
  #parent: string | undefined
  #subscription: string | undefined
  #group: string | undefined
  #type: string | undefined
  #name = ''

  constructor(segments: readonly string[]) {
    this.#segments = segments
  }

  read(): ResourceId | undefined {
    this.#subscription = this.#pair('subscriptions')
    if (this.#subscription !== undefined) this.#group = this.#pair('resourceGroups')
    while (this.#is('providers')) if (!this.#provider()) return undefined
    if (this.#at !== this.#segments.length || this.#text === '') return undefined
    return {
      text: this.#text,
      key: idKey(this.#text),
      subscription: this.#subscription,
      group: this.#group,
      type: this.#type,
      name: this.#name,
      parent: this.#parent,
    }
  }

  #is(word: string): boolean {
    return this.#segments[this.#at]?.toLowerCase() === word.toLowerCase()
  }

  #step(segment: string, name: string): void {
    this.#parent = this.#text === '' ? undefined : this.#text
    this.#text += `/${segment}/${name}`
    this.#name = name
    this.#at += 2
  }

  #pair(word: string): string | undefined {
    const name = this.#segments[this.#at + 1]
    if (!this.#is(word) || name === undefined) return undefined
    this.#step(word, name)
    return name
  }

  /** `providers/namespace` and at least one type with its name. */
  #provider(): boolean {
    const namespace = this.#segments[this.#at + 1]
    if (namespace === undefined) return false
    const holder = this.#text
    this.#text += `/providers/${namespace}`
    this.#at += 2
    this.#type = namespace
    const first = this.#at
    while (this.#at + 1 < this.#segments.length && !this.#is('providers')) {
      const [type = '', name = ''] = this.#segments.slice(this.#at, this.#at + 2)
      this.#type += `/${type}`
      this.#step(type, name)
      if (this.#at === first + 2) this.#parent = holder === '' ? undefined : holder
    }
    return this.#at > first
  }
}

export function subscriptionId(subscription: string): string {
  return `/subscriptions/${subscription}`
}

export function groupId(subscription: string, group: string): string {
  return `/subscriptions/${subscription}/resourceGroups/${group}`
}

/** The id of a top-level resource in a group. */
export function resourceIdIn(subscription: string, group: string, type: string, name: string): string {
  return `${groupId(subscription, group)}/providers/${type}/${name}`
}
