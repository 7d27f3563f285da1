/** Tags of a resource. Limits of Azure: 50 pairs, names to 512 and values to 256 characters; names are compared without case. */
import { ArmError } from './arm-error.ts'

export type Tags = Readonly<Record<string, string>>

const PAIRS_MAX = 50
const NAME_LENGTH_MAX = 512
const VALUE_LENGTH_MAX = 256
const NAME_FORBIDDEN = /[<>%&\\?/]/

function invalid(message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target: 'tags' })
}

/** null and undefined are no tags. @throws ArmError `InvalidParameter` */
export function readTags(given: unknown): Tags {
  if (given === undefined || given === null) return {}
  if (typeof given !== 'object' || Array.isArray(given)) throw invalid('Tags must be an object of names and values.')
  const pairs = Object.entries(given as Record<string, unknown>)
  if (pairs.length > PAIRS_MAX) throw invalid(`A resource may have at most ${PAIRS_MAX} tags.`)
  const seen = new Set<string>()
  const tags: Record<string, string> = {}
  for (const [name, value] of pairs) {
    if (name === '' || name.length > NAME_LENGTH_MAX || NAME_FORBIDDEN.test(name))
      throw invalid(`The tag name '${name.slice(0, 60)}' is empty, too long or holds one of <>%&\\?/.`)
    if (typeof value !== 'string' || value.length > VALUE_LENGTH_MAX)
      throw invalid(`The value of tag '${name}' must be text of at most ${VALUE_LENGTH_MAX} characters.`)
    if (seen.has(name.toLowerCase())) throw invalid(`The tag '${name}' is given twice, in different case.`)
    seen.add(name.toLowerCase())
    tags[name] = value
  }
  return tags
}
