#!/usr/bin/env bash
# Every table and figure of this folder, from its records: bash results/render.sh (fig3 wants CIFAR-10 in the data folder).
set -euo pipefail
cd "$(dirname "$0")"
here=(--results records --baselines none)
for format in md csv; do
  lrbench table 1 --dataset svhn=svhn-resplit "${here[@]}" --format $format --out table1.$format
  lrbench table 2 "${here[@]}" --format $format --out table2.$format
  lrbench table claims --dataset svhn=svhn-resplit "${here[@]}" --format $format --out claims.$format
  for name in sr tuned leaderboard; do lrbench table $name "${here[@]}" --format $format --out $name.$format; done
done
lrbench plot gains "${here[@]}" --set lam=2 --out gains.png
lrbench plot fig2 "${here[@]}" --set reduction=mean --out fig2.png
lrbench plot fig2 "${here[@]}" --set reduction=sum --out fig2-sum.png
lrbench plot fig3 "${here[@]}" --sr-scale 2 --out fig3-x2.png
lrbench plot fig3 "${here[@]}" --sr-scale 4 --out fig3-x4.png
lrbench plot curves "${here[@]}" --dataset cifar10 --scale 4 --backbone resnet18 \
  --method hr-baseline --method lr-baseline --method fitnets --method kd --out curves.png
lrbench plot curves "${here[@]}" --method sr-espcn --method sr-vdsr --method sr-srresnet --method sr-srgan \
  --method sr-basicsr --out sr-curves.png
lrbench plot curves "${here[@]}" --dataset cifar10 --scale 4 --method espcn --method vdsr --method srgan --method sr4ir \
  --out sr-classifier-curves.png
