/** A folded state as a value that is JSON: what a checkpoint holds. Equal for all who read the same entries. */
import { isPolicy, type ImmutabilityPolicy } from '../immutability/policy.ts'
import type { ObservedTime } from '../immutability/observed-time.ts'
import { FEATURE, isCount, isField, isHeader, isList, isMaybe, isPin, isText, PACK_NAME, USES } from './entry.ts'
import { unknownFeatures } from './features.ts'
import type { PinState } from './pins.ts'
import type { PackState, PointState } from './state.ts'

export type Anchor = Readonly<{ number: number; hash: string }>
export type ForgottenState = PointState & Readonly<{ forgottenIn: number }>

export type StateSnapshot = Readonly<{
  head: number
  headHash: string
  /** Features that any entry asked for, in the order of their names. */
  requires: readonly string[]
  time: ObservedTime
  immutability: ImmutabilityPolicy
  lastLockEndMs: number
  horizon: number
  anchors: readonly Anchor[]
  /** How many ordinals are taken, those of forgotten packs included. */
  ordinals: number
  packs: readonly PackState[]
  /** Names that were deleted after the horizon, and by which entry. */
  deleted: readonly Readonly<{ name: string; number: number }>[]
  doomedStrays: readonly string[]
  points: readonly PointState[]
  /** Points that were given up after the horizon, or whose packs are locked yet. */
  forgotten: readonly ForgottenState[]
  moves: readonly Readonly<{ from: string; to: string }>[]
  pins: readonly PinState[]
}>

type Fields = Record<string, unknown>

const areAll = (field: unknown, check: (item: Fields) => boolean): boolean =>
  Array.isArray(field) && isList(field, (item) => isField(item, check))
const isPoint = (point: Fields): boolean => isCount(point['number']) && isHeader(point['header'])
const isTime = ({ observedMs, longestGapMs, doubted }: Fields): boolean =>
  isCount(observedMs) &&
  isCount(longestGapMs) &&
  isMaybe(doubted, (one) => isField(one, ({ number, atMs }) => isCount(number) && isCount(atMs)))
const isPack = ({ name, lengthBytes, ordinal, status, addedIn }: Fields, ordinals: number): boolean =>
  isText(name, PACK_NAME) &&
  [lengthBytes, ordinal, addedIn].every(isCount) &&
  ['live', 'doomed', 'deleted'].includes(String(status)) &&
  Number(ordinal) < ordinals

/** Whether the value has the shape of a state; of one that asks for more than is known, whether it says so. */
export function isState(value: unknown): boolean {
  return isField(value, (state) => isFrame(state) && (unknownFeatures(requiresIn(state)).length > 0 || isWhole(state)))
}

function requiresIn({ requires }: Fields): string[] {
  return requires as string[] // isFrame has looked
}

function isFrame(state: Fields): boolean {
  const { head, headHash, requires } = state
  const names = Array.isArray(requires) && isList(requires, (name) => isText(name, FEATURE))
  return isCount(head) && isText(headHash, PACK_NAME) && names
}

function isWhole(state: Fields): boolean {
  return (
    ['lastLockEndMs', 'horizon', 'ordinals'].every((field) => isCount(state[field])) &&
    isField(state['time'], isTime) &&
    isField(state['immutability'], isPolicy) &&
    areAll(state['anchors'], ({ number, hash }) => isCount(number) && isText(hash, PACK_NAME)) &&
    areAll(state['packs'], (pack) => isPack(pack, Number(state['ordinals']))) &&
    areAll(state['deleted'], ({ name, number }) => isText(name, PACK_NAME) && isCount(number)) &&
    isList(state['doomedStrays'] ?? 0, (name) => isText(name, PACK_NAME)) &&
    areAll(state['points'], isPoint) &&
    areAll(state['forgotten'], (point) => isPoint(point) && isCount(point['forgottenIn'])) &&
    areAll(state['moves'], ({ from, to }) => isText(from, USES) && isText(to, USES)) &&
    areAll(
      state['pins'],
      ({ number, pin, doubted }) => isCount(number) && isPin(pin) && isMaybe(doubted, (d) => d === true),
    )
  )
}
