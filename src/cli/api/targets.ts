/**
 * Which resources a command means: a name in a group, or whole ids. Names are what people type; ids are what scripts get from
 * other commands (`--ids`), and are taken wherever a name is.
 */
import type { Command } from 'commander'
import { groupId, parseIdOfType, resourceIdIn } from '#contract'
import { CliError } from '../errors.ts'
import type { ApiContext, ApiOptions } from './api-command.ts'
import type { ResourceJson } from './resource-json.ts'

export const DISK_TYPE = 'Microsoft.Compute/disks'
export const SNAPSHOT_TYPE = 'Microsoft.Compute/snapshots'
export const IMAGE_TYPE = 'Microsoft.Compute/images'
export const MACHINE_TYPE = 'Microsoft.Compute/virtualMachines'

export type GroupOptions = ApiOptions & Readonly<{ group?: string }>
export type TargetOptions = GroupOptions & Readonly<{ ids?: readonly string[] }>

export function withGroupOption(command: Command): Command {
  return command.option('-g, --group <name>', 'the resource group (default: HOLDFAST_GROUP, else "holdfast configure")')
}

export function withTargetOptions(command: Command): Command {
  return withGroupOption(command).option('--ids <id...>', 'whole ids instead of name and group')
}

/** The group that was named, or is the default. @throws CliError `usage_invalid` */
export function groupOf({ defaults }: Pick<ApiContext, 'defaults'>, options: GroupOptions): string {
  const group = options.group ?? defaults.group
  if (group !== undefined && group !== '') return group
  throw new CliError('usage_invalid', 'The resource group is not named.', {
    hint: 'Say -g, set HOLDFAST_GROUP, or "holdfast configure --defaults group=...".',
  })
}

export async function pathOfGroup({ client }: Pick<ApiContext, 'client'>, group: string): Promise<string> {
  return groupId(await client.subscription(), encodeURIComponent(group))
}

/** An id of the type: as given, or of the name in the group. @throws ArmError `InvalidResourceReference`, CliError `usage_invalid` */
export async function idOf(
  context: Pick<ApiContext, 'client' | 'defaults'>,
  nameOrId: string,
  type: string,
  options: GroupOptions,
): Promise<string> {
  if (nameOrId.startsWith('/')) return parseIdOfType(nameOrId, type).text
  const group = groupOf(context, options)
  const id = resourceIdIn(await context.client.subscription(), group, type, nameOrId)
  return parseIdOfType(id, type).text
}

/** The ids that name and options mean, one or more. @throws CliError `usage_invalid`, ArmError */
export async function targetsOf(
  context: Pick<ApiContext, 'client' | 'defaults'>,
  name: string | undefined,
  type: string,
  options: TargetOptions,
): Promise<readonly string[]> {
  const { ids = [] } = options
  if (name !== undefined && ids.length > 0)
    throw new CliError('usage_invalid', 'Either a name or --ids can be given, not both.')
  if (ids.length > 0) return ids.map((id) => parseIdOfType(id, type).text)
  if (name === undefined) throw new CliError('usage_invalid', 'Neither a name nor --ids is given.')
  return [await idOf(context, name, type, options)]
}

/** The name at the end of an id. */
export function nameOf(id: string): string {
  return id.split('/').at(-1) ?? ''
}

/** The group inside an id, '' when there is none. */
export function groupIn(id: string): string {
  return /\/resourceGroups\/([^/]+)/i.exec(id)?.[1] ?? ''
}

/** `name=value`, several. @throws CliError `usage_invalid` */
export function readTagOptions(pairs: readonly string[] | undefined): Readonly<Record<string, string>> | undefined {
  if (pairs === undefined) return undefined
  const entries = pairs.map((pair): [string, string] => {
    const at = pair.indexOf('=')
    if (at < 1) throw new CliError('usage_invalid', `"${pair}" is no tag such as owner=ops.`)
    return [pair.slice(0, at), pair.slice(at + 1)]
  })
  return Object.fromEntries(entries)
}

/** The list of a type: of the group that is named or is the default, else of all. */
export async function listPath(
  context: Pick<ApiContext, 'client' | 'defaults'>,
  type: string,
  options: GroupOptions & Readonly<{ all?: boolean }>,
): Promise<string> {
  const { client, defaults } = context
  const group = options.group ?? (options.all === true ? undefined : defaults.group)
  const within =
    group === undefined ? `/subscriptions/${await client.subscription()}` : await pathOfGroup(context, group)
  return `${within}/providers/${type}`
}

/** The region that is named, that of the source, or that of the group; the user's default before the last. */
export async function locationFor(
  context: ApiContext,
  options: GroupOptions & Readonly<{ location?: string }>,
  source?: ResourceJson,
): Promise<string> {
  const known = options.location ?? source?.location ?? context.defaults.location
  if (known !== undefined) return known
  const group = await context.client.get<ResourceJson>(await pathOfGroup(context, groupOf(context, options)))
  return group.location ?? ''
}
