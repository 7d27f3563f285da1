/** Images by one word, as the alias document has them: `Micro` for what "guest build micro" offers. az reads the same document. */
import type { ApiContext } from './api-command.ts'
import type { ResourceJson } from './resource-json.ts'

export type OfferedImage = Readonly<{ alias: string; system: string; publisher: string; offer: string; sku: string }>
type Words = Readonly<Record<string, Omit<OfferedImage, 'alias' | 'system'>>>

export async function offeredImages({ client }: ApiContext): Promise<OfferedImage[]> {
  const document = await client.get<ResourceJson & Readonly<{ outputs: unknown }>>('/aliases.json')
  const { aliases } = document.outputs as { aliases: { value: Readonly<Record<string, Words>> } }
  return Object.entries(aliases.value).flatMap(([system, words]) =>
    Object.entries(words).map(([alias, { publisher, offer, sku }]) => ({ alias, system, publisher, offer, sku })),
  )
}

/** The image that the word stands for, in whatever case; a word comes before an image of that name, as az has it. */
export async function imageOfWord(context: ApiContext, word: string): Promise<OfferedImage | undefined> {
  if (word.includes('/')) return undefined
  return (await offeredImages(context)).find(({ alias }) => alias.toLowerCase() === word.toLowerCase())
}
