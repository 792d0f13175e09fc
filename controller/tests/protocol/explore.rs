//! Breadth-first search through all states, then backwards from the good ends: a state from which no good end can be
//! reached is a deadlock.

use std::collections::{HashMap, VecDeque};

use crate::world::{Rules, World};

pub(crate) enum Explored {
    Holds { states: usize },
    Violated { what: String, trace: Vec<String> },
}

pub(crate) fn explore(start: World, rules: Rules) -> Explored {
    let mut index: HashMap<World, usize> = HashMap::from([(start.clone(), 0)]);
    let mut states = vec![start];
    let mut came_from: Vec<Option<(usize, &'static str)>> = vec![None];
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let mut queue = VecDeque::from([0]);
    while let Some(here) = queue.pop_front() {
        for (action, next) in states[here].clone().actions(rules) {
            let known = index.get(&next).copied();
            let there = known.unwrap_or(states.len());
            if known.is_none() {
                index.insert(next.clone(), there);
                came_from.push(Some((here, action)));
                before.push(Vec::new());
                queue.push_back(there);
                let violation = next.violation;
                states.push(next);
                if let Some(what) = violation {
                    return Explored::Violated { what: what.into(), trace: trace(&came_from, there) };
                }
            }
            before[there].push(here);
        }
    }
    match first_stuck(&states, &before) {
        Some(stuck) => Explored::Violated {
            what: format!("a held connection can never be served: {:?}", states[stuck]),
            trace: trace(&came_from, stuck),
        },
        None => Explored::Holds { states: states.len() },
    }
}

fn first_stuck(states: &[World], before: &[Vec<usize>]) -> Option<usize> {
    let mut good: Vec<bool> = states.iter().map(World::is_served).collect();
    let mut queue: VecDeque<usize> = (0..states.len()).filter(|state| good[*state]).collect();
    while let Some(here) = queue.pop_front() {
        for &earlier in &before[here] {
            if !std::mem::replace(&mut good[earlier], true) {
                queue.push_back(earlier);
            }
        }
    }
    good.iter().position(|good| !good)
}

fn trace(came_from: &[Option<(usize, &'static str)>], mut state: usize) -> Vec<String> {
    let mut steps = Vec::new();
    while let Some((earlier, action)) = came_from[state] {
        steps.push(action.to_owned());
        state = earlier;
    }
    steps.reverse();
    steps
}
