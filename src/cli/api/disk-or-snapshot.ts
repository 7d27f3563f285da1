/** What a disk or an image is to be made of, where either a disk or a snapshot will do. */
import type { ApiContext } from './api-command.ts'
import type { ResourceJson } from './resource-json.ts'
import { DISK_TYPE, type GroupOptions, idOf, SNAPSHOT_TYPE } from './targets.ts'

/** By id, or by its name in the group: snapshots first, as `az` has it. */
export async function diskOrSnapshot(
  context: ApiContext,
  source: string,
  options: GroupOptions,
): Promise<ResourceJson> {
  if (source.startsWith('/')) return context.client.get(source)
  const snapshot = await context.client.find<ResourceJson>(await idOf(context, source, SNAPSHOT_TYPE, options))
  return snapshot ?? context.client.get(await idOf(context, source, DISK_TYPE, options))
}
