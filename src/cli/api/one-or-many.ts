/** Commands on resources by name or `--ids`: the same for every type. One id gives one thing, several an array. */
import type { ApiContext, Shown, WaitOptions } from './api-command.ts'
import { conclude } from './api-command.ts'
import { confirmed, type ConfirmOptions } from './confirm.ts'
import { nameOf, type TargetOptions, targetsOf } from './targets.ts'

/** A type as its commands word it. */
export type Kind<T> = Readonly<{
  type: string
  word: string
  one: (item: T) => Shown
  many: (items: readonly T[]) => Shown
}>

export async function showTargets<T>(
  context: ApiContext,
  kind: Kind<T>,
  name: string | undefined,
  options: TargetOptions,
): Promise<Shown> {
  const items: T[] = []
  const ids = await targetsOf(context, name, kind.type, options)
  for (const id of ids) items.push(await context.client.get<T>(id))
  const [only] = items
  return only !== undefined && items.length === 1 ? kind.one(only) : kind.many(items)
}

/** Asks once for all; they go one after the other, and the first that is refused ends it. */
export async function deleteTargets<T>(
  context: ApiContext,
  kind: Kind<T>,
  name: string | undefined,
  options: TargetOptions & WaitOptions & ConfirmOptions,
): Promise<Shown | undefined> {
  const ids = await targetsOf(context, name, kind.type, options)
  const names = ids.map(nameOf)
  await confirmed(options, `Delete the ${kind.word}${ids.length > 1 ? 's' : ''} ${names.join(', ')}?`)
  const begun: Shown[] = []
  for (const id of ids) {
    const answer = await context.client.ask('DELETE', id)
    const task = `Deleting ${kind.word} ${nameOf(id)}`
    const shown = await conclude(context, options, answer, { task, show: () => Promise.resolve(undefined) })
    if (shown !== undefined) begun.push(shown)
  }
  const [only] = begun
  if (begun.length < 2) return only
  return { value: begun.map(({ value }) => value), table: () => begun.map(({ table }) => table()).join('\n') }
}

/** Makes or changes one thing, follows it, and shows it as it is then. */
export async function change<T>(
  context: ApiContext,
  kind: Kind<T>,
  options: WaitOptions,
  request: Readonly<{ method: 'PUT' | 'PATCH' | 'POST'; id: string; path?: string; body: unknown; doing: string }>,
): Promise<Shown | undefined> {
  const { method, id, path = id, body, doing } = request
  const answer = await context.client.ask(method, path, body)
  const show = async (): Promise<Shown> => kind.one(await context.client.get<T>(id))
  return conclude(context, options, answer, { task: `${doing} ${kind.word} ${nameOf(id)}`, show })
}
