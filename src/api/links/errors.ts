/** What linking servers can fail with. One code, one meaning, one entry in docs/errors.md (a test compares). */
import { HoldfastError } from '#base'

export const LINK_ERROR_CODES = [
  'link_answer_lost',
  'link_exists',
  'link_invitation_invalid',
  'link_message_invalid',
  'link_not_found',
  'link_refused',
  'link_region_shared',
  'link_unknown',
  'link_unreachable',
  'link_unsettled',
] as const
export type LinkErrorCode = (typeof LINK_ERROR_CODES)[number]
export class LinkError extends HoldfastError<LinkErrorCode> {}

export function messageInvalid(why: string, cause?: unknown): LinkError {
  return new LinkError('link_message_invalid', `A message between linked servers is not valid: ${why}.`, { cause })
}
