// Section 8: what is asked in an epoch, how much, and which questions.

import { drawBelow, H, stream } from './digests.js'

// The question indexes of a task in order, `depth` of `questions` at most.
export function questionOrder (beacon, content, questions, depth) {
  const numbers = stream(H('peerboard/questions-order/1', beacon, content))
  const items = Array.from({ length: questions }, (_, index) => index)
  const asked = Math.min(depth, questions)
  for (let place = 0; place < asked; place++) {
    const other = place + drawBelow(questions - place, numbers)
    ;[items[place], items[other]] = [items[other], items[place]]
  }
  return items.slice(0, asked)
}

// The subjects of an epoch. A subject is a text that sorts as its bytes do; `turns` maps it to {asked, dueAgain}.
export function dueSubjects (subjects, turns, parameters, examined) {
  const turn = (subject) => turns.get(subject) ?? { asked: -1, dueAgain: false }
  const sorted = subjects.toSorted((one, other) => turn(one).asked - turn(other).asked || compare(one, other))
  const again = sorted.filter((subject) => turn(subject).dueAgain).slice(0, tenth(parameters.tasks_max))
  const list = [...again, ...sorted.filter((subject) => !again.includes(subject))]
  const room = Math.min(parameters.tasks_max, Math.floor(parameters.questions_max / parameters.quick_depth))
  return list.slice(0, Math.max(0, room - examined))
}

// The depth of each subject that gets more than the quick one.
export function depths (undecided, due, left, parameters) {
  const { quick_depth: quick, standard_depth: standard, comprehensive_depth: comprehensive } = parameters
  const found = new Map()
  if (left <= 0 || comprehensive <= quick) return found
  for (const depth of [standard, comprehensive]) {
    for (const subject of undecided.filter((candidate) => due.includes(candidate))) {
      const additional = depth - (found.get(subject) ?? quick)
      if (additional <= 0 || additional > left) continue
      left -= additional
      found.set(subject, depth)
    }
  }
  return found
}

export function tenth (most) {
  return Math.max(1, Math.floor(most / 10))
}

function compare (one, other) {
  return one < other ? -1 : Number(one > other)
}
